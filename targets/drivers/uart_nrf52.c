/* UART of the nRF52840 (Product Specification 1.8, section 6.33). MG_UART_TX and MG_UART_RX are pins as PSEL takes them: 32
 * times the port, plus the pin. */
#include "board.h"
#include "uart.h"

#define CLOCK_TASKS_HFCLKSTART 0x40000000u
#define CLOCK_EVENTS_HFCLKSTARTED 0x40000100u
#define GPIO_PORT(pin) (0x50000000u + 0x300u * ((pin) / 32u))
#define GPIO_OUTSET 0x508u
#define GPIO_DIRSET 0x518u
#define UART_TASKS_STARTRX (MG_UART_BASE + 0x000u)
#define UART_TASKS_STARTTX (MG_UART_BASE + 0x008u)
#define UART_EVENTS_RXDRDY (MG_UART_BASE + 0x108u)
#define UART_EVENTS_TXDRDY (MG_UART_BASE + 0x11Cu)
#define UART_ENABLE (MG_UART_BASE + 0x500u)
#define UART_PSELTXD (MG_UART_BASE + 0x50Cu)
#define UART_PSELRXD (MG_UART_BASE + 0x514u)
#define UART_RXD (MG_UART_BASE + 0x518u)
#define UART_TXD (MG_UART_BASE + 0x51Cu)
#define UART_BAUDRATE (MG_UART_BASE + 0x524u)

#define ENABLED 4u
#define BAUD_115200 0x01D7E000u
_Static_assert(MG_UART_BAUD == 115200u, "the register takes a table's values, not a divisor");

void mg_uart_open(void) {
    if (*mg_register(UART_ENABLE) == ENABLED) return;
    *mg_register(CLOCK_TASKS_HFCLKSTART) = 1u; /* the crystal: the RC oscillator is too far off in the cold */
    while (!*mg_register(CLOCK_EVENTS_HFCLKSTARTED)) {
    }
    *mg_register(GPIO_PORT(MG_UART_TX) + GPIO_OUTSET) = 1u << (MG_UART_TX % 32u);
    *mg_register(GPIO_PORT(MG_UART_TX) + GPIO_DIRSET) = 1u << (MG_UART_TX % 32u);
    *mg_register(UART_PSELTXD) = MG_UART_TX;
    *mg_register(UART_PSELRXD) = MG_UART_RX;
    *mg_register(UART_BAUDRATE) = BAUD_115200;
    *mg_register(UART_ENABLE) = ENABLED;
    *mg_register(UART_TASKS_STARTTX) = 1u;
    *mg_register(UART_TASKS_STARTRX) = 1u;
}

void mg_uart_put(uint8_t byte) {
    *mg_register(UART_EVENTS_TXDRDY) = 0;
    *mg_register(UART_TXD) = byte;
    while (!*mg_register(UART_EVENTS_TXDRDY)) {
    }
}

int32_t mg_uart_get(void) {
    if (!*mg_register(UART_EVENTS_RXDRDY)) return -1;
    *mg_register(UART_EVENTS_RXDRDY) = 0; /* before the byte is taken: the next one sets it again */
    return (int32_t)(*mg_register(UART_RXD) & 0xFFu);
}
