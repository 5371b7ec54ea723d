/* CMSDK APB UART (Arm DDI 0479D, section 4.3), on the MPS2 boards. */
#include "board.h"
#include "uart.h"

#define UART_DATA (MG_UART_BASE + 0x00u)
#define UART_STATE (MG_UART_BASE + 0x04u)
#define UART_CTRL (MG_UART_BASE + 0x08u)
#define UART_BAUDDIV (MG_UART_BASE + 0x10u)

#define STATE_TX_FULL (1u << 0)
#define STATE_RX_FULL (1u << 1)
#define CTRL_TX_ENABLE (1u << 0)
#define CTRL_RX_ENABLE (1u << 1)

void mg_uart_open(void) {
    mg_window_open(MG_UART_BASE);
    *mg_register(UART_BAUDDIV) = MG_UART_CLOCK_HZ / MG_UART_BAUD;
    *mg_register(UART_CTRL) = CTRL_TX_ENABLE | CTRL_RX_ENABLE;
}

void mg_uart_put(uint8_t byte) {
    while (*mg_register(UART_STATE) & STATE_TX_FULL) {
    }
    *mg_register(UART_DATA) = byte;
}

int32_t mg_uart_get(void) {
    if (!(*mg_register(UART_STATE) & STATE_RX_FULL)) return -1;
    return (int32_t)(*mg_register(UART_DATA) & 0xFFu);
}
