/* USART of the STM32F4 (RM0402, section 24.6). The board's mg_uart_pins has switched on its clock and its pins. */
#include "board.h"
#include "uart.h"
#include "uart_pins.h"

#define USART_SR (MG_UART_BASE + 0x00u)
#define USART_DR (MG_UART_BASE + 0x04u)
#define USART_BRR (MG_UART_BASE + 0x08u)
#define USART_CR1 (MG_UART_BASE + 0x0Cu)

#define SR_RXNE (1u << 5)
#define SR_TXE (1u << 7)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define CR1_UE (1u << 13)

void mg_uart_open(void) {
    mg_uart_pins();
    *mg_register(USART_BRR) = (MG_UART_CLOCK_HZ + MG_UART_BAUD / 2u) / MG_UART_BAUD;
    *mg_register(USART_CR1) = CR1_UE | CR1_TE | CR1_RE;
}

void mg_uart_put(uint8_t byte) {
    while (!(*mg_register(USART_SR) & SR_TXE)) {
    }
    *mg_register(USART_DR) = byte;
}

/* Reading SR and then DR clears an overrun, too. */
int32_t mg_uart_get(void) {
    if (!(*mg_register(USART_SR) & SR_RXNE)) return -1;
    return (int32_t)(*mg_register(USART_DR) & 0xFFu);
}
