/* National Semiconductor 16550 UART, byte-wide registers. */
#include "board.h"
#include "uart.h"

#define REGISTER(n) (*(volatile uint8_t *)(uintptr_t)(MG_UART_BASE + (n)))
#define DATA REGISTER(0u)
#define DIVISOR_LOW REGISTER(0u)
#define INTERRUPT_ENABLE REGISTER(1u)
#define DIVISOR_HIGH REGISTER(1u)
#define FIFO_CONTROL REGISTER(2u)
#define LINE_CONTROL REGISTER(3u)
#define LINE_STATUS REGISTER(5u)

#define EIGHT_BITS 0x03u
#define DIVISOR_ACCESS 0x80u
#define FIFO_ENABLE_AND_CLEAR 0x07u
#define DATA_READY 0x01u
#define TRANSMITTER_EMPTY 0x20u

void mg_uart_open(void) {
    const uint32_t divisor = MG_UART_CLOCK_HZ / (16u * MG_UART_BAUD);
    mg_window_open(MG_UART_BASE);
    INTERRUPT_ENABLE = 0;
    LINE_CONTROL = DIVISOR_ACCESS;
    DIVISOR_LOW = (uint8_t)divisor;
    DIVISOR_HIGH = (uint8_t)(divisor >> 8);
    LINE_CONTROL = EIGHT_BITS;
    FIFO_CONTROL = FIFO_ENABLE_AND_CLEAR;
}

void mg_uart_put(uint8_t byte) {
    while (!(LINE_STATUS & TRANSMITTER_EMPTY)) {
    }
    DATA = byte;
}

int32_t mg_uart_get(void) { return LINE_STATUS & DATA_READY ? DATA : -1; }
