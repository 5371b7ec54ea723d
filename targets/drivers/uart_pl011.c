/* Arm PrimeCell UART PL011 (DDI 0183). The board's mg_uart_pins has switched on its clock and its pins. */
#include "board.h"
#include "uart.h"
#include "uart_pins.h"

#define UART_DR (MG_UART_BASE + 0x00u)
#define UART_FR (MG_UART_BASE + 0x18u)
#define UART_IBRD (MG_UART_BASE + 0x24u)
#define UART_FBRD (MG_UART_BASE + 0x28u)
#define UART_LCR_H (MG_UART_BASE + 0x2Cu)
#define UART_CR (MG_UART_BASE + 0x30u)

#define FR_RXFE (1u << 4)
#define FR_TXFF (1u << 5)
#define LCR_FIFO_EIGHT_BITS 0x70u
#define CR_ENABLE 0x301u

/* In 64ths: 16 bits of integer, 6 of fraction. */
#define DIVISOR ((MG_UART_CLOCK_HZ * 4u + MG_UART_BAUD / 2u) / MG_UART_BAUD)

void mg_uart_open(void) {
    mg_uart_pins();
    *mg_register(UART_IBRD) = DIVISOR / 64u;
    *mg_register(UART_FBRD) = DIVISOR % 64u;
    *mg_register(UART_LCR_H) = LCR_FIFO_EIGHT_BITS; /* takes over the divisors, too */
    *mg_register(UART_CR) = CR_ENABLE;
}

void mg_uart_put(uint8_t byte) {
    while (*mg_register(UART_FR) & FR_TXFF) {
    }
    *mg_register(UART_DR) = byte;
}

int32_t mg_uart_get(void) {
    if (*mg_register(UART_FR) & FR_RXFE) return -1;
    return (int32_t)(*mg_register(UART_DR) & 0xFFu);
}
