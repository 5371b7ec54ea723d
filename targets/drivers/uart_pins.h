/* What a UART driver asks of its board's own file. */
#ifndef MG_UART_PINS_H
#define MG_UART_PINS_H

void mg_uart_pins(void); /* the UART's clock is on and its pins are connected; may be called again */

#endif
