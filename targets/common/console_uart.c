/* A real board speaks over its serial line, and where an emulated one would end, it stands still. */
#include "board.h"
#include "uart.h"

void mg_report(const char *text) {
    mg_uart_open(); /* the fault may have come before */
    while (*text) mg_uart_put((uint8_t)*text++);
}

void mg_exit(int code) {
    (void)code;
    for (;;) {
    }
}
