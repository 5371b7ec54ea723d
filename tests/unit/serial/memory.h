/* A model behind a serial line that is two buffers, and a flash that is an array: what the tests and the fuzzer share. */
#ifndef MEMORY_H
#define MEMORY_H

#include MG_MODEL_SERIAL_HEADER

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define CALL(function) PASTE(MG_MODEL, function)
#define TRAINS PASTE(MG_MODEL_UPPER, _TRAINS)

enum { SECTOR = 4096, SECTORS = 16 };

typedef struct {
    CALL(_t) model;
    CALL(_serial_t) serial;
    mg_flash_t driver;
    mg_flash_log_t log;
    mg_serial_port_t port;
    const uint8_t *next;    /* what has come and was not read */
    uint32_t left;
    uint8_t *answer;        /* where to put what is sent, and how many bytes still fit */
    uint32_t room;
    uint8_t flash[SECTOR * SECTORS];
} memory_t;

void memory_erase(memory_t *d);                                   /* an empty flash */
void memory_boot(memory_t *d, uint32_t window, bool has_flash);   /* reset: SRAM is lost, flash is not */
/* Bytes come; what is sent goes to `answer`. The requests that were executed or answered. */
uint32_t memory_serve(memory_t *d, const uint8_t *bytes, uint32_t count, uint8_t *answer, uint32_t *room);

#endif
