/* The serial line of this machine: stdin and stdout, which the other side has connected to a PTY or a socket. */
#define _POSIX_C_SOURCE 200809L
#include "uart.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

void mg_uart_open(void) {}

void mg_uart_put(uint8_t byte) {
    if (write(STDOUT_FILENO, &byte, 1) != 1) exit(0); /* nobody listens any more */
}

/* Sleeps for a moment where nothing has come: this machine has something better to do than to ask again. */
int32_t mg_uart_get(void) {
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
    uint8_t byte;
    if (poll(&line, 1, 100) <= 0) return -1;
    if (read(STDIN_FILENO, &byte, 1) != 1) exit(0);
    return byte;
}
