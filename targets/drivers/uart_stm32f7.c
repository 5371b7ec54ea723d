/* USART of the STM32F7 and H7 (RM0385, section 31.8; RM0433, section 48.7). The board's mg_uart_pins has switched on its
 * clock and its pins. */
#include "board.h"
#include "uart.h"
#include "uart_pins.h"

#define USART_CR1 (MG_UART_BASE + 0x00u)
#define USART_BRR (MG_UART_BASE + 0x0Cu)
#define USART_ISR (MG_UART_BASE + 0x1Cu)
#define USART_ICR (MG_UART_BASE + 0x20u)
#define USART_RDR (MG_UART_BASE + 0x24u)
#define USART_TDR (MG_UART_BASE + 0x28u)

#define CR1_UE (1u << 0)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define ISR_ORE (1u << 3)
#define ISR_RXNE (1u << 5)
#define ISR_TXE (1u << 7)

void mg_uart_open(void) {
    mg_uart_pins();
    *mg_register(USART_BRR) = (MG_UART_CLOCK_HZ + MG_UART_BAUD / 2u) / MG_UART_BAUD;
    *mg_register(USART_CR1) = CR1_UE | CR1_TE | CR1_RE;
}

void mg_uart_put(uint8_t byte) {
    while (!(*mg_register(USART_ISR) & ISR_TXE)) {
    }
    *mg_register(USART_TDR) = byte;
}

int32_t mg_uart_get(void) {
    const uint32_t status = *mg_register(USART_ISR);
    if (status & ISR_ORE) *mg_register(USART_ICR) = ISR_ORE; /* a lost byte must not stop the line */
    if (!(status & ISR_RXNE)) return -1;
    return (int32_t)(*mg_register(USART_RDR) & 0xFFu);
}
