/* The board's serial line: 8 data bits, no parity, one stop bit, polled; no interrupt, no DMA, no statics. */
#ifndef MG_UART_H
#define MG_UART_H

#include <stdint.h>

void mg_uart_open(void);           /* pins, clock and baud rate; before the first byte */
void mg_uart_put(uint8_t byte);    /* waits until there is room */
int32_t mg_uart_get(void);         /* the next byte, or -1 when none has come; never waits */

#endif
