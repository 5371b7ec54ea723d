/* A firmware's main: the model behind the board's serial line, for ever. Built with the macros of firmware.h. */
#include "stack.h"
#include "storage.h"
#include "uart.h"
#include MG_MODEL_SERIAL_HEADER

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define CALL(function) PASTE(MG_MODEL, function)

#ifndef MG_UART_WINDOW
#define MG_UART_WINDOW 4u /* the host's pipes and PTYs keep more than that */
#endif

/* What is kept in .data and .bss, all of it. */
static struct {
    _Alignas(8) CALL(_t) model;
    CALL(_serial_t) serial;
    mg_flash_log_t log;
} firmware;

static int32_t get(void *context) {
    (void)context;
    return mg_uart_get();
}

static void put(void *context, uint8_t byte) {
    (void)context;
    mg_uart_put(byte);
}

static uint32_t stack(void *context) {
    (void)context;
    return mg_stack_high_water();
}

static const mg_serial_port_t port = {.get = get, .put = put, .stack = stack, .window = MG_UART_WINDOW};

/* What was saved, where the board has flash for it. */
static void start(void) {
    CALL(_init)(&firmware.model);
    CALL(_serial_open)(&firmware.serial, &firmware.model, &port);
#if PASTE(MG_MODEL_UPPER, _TRAINS)
    firmware.log.flash = mg_storage_open();
    if (firmware.log.flash != NULL) (void)CALL(_serial_keep)(&firmware.serial, &firmware.log);
#endif
}

int main(void) {
    mg_uart_open();
    start();
    for (;;) (void)mg_serial_poll(&firmware.serial.line);
}
