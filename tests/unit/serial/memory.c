#include "memory.h"

#include <stdlib.h>
#include <string.h>

static int32_t get(void *context) {
    memory_t *const d = context;
    if (d->left == 0) return -1;
    d->left--;
    return *d->next++;
}

static void put(void *context, uint8_t byte) {
    memory_t *const d = context;
    if (d->room == 0) abort();
    d->room--;
    *d->answer++ = byte;
}

static uint32_t stack(void *context) {
    (void)context;
    return 1234;
}

static bool erase(void *context, uint32_t address) {
    memset((uint8_t *)context + address, 0xFF, SECTOR);
    return true;
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    memcpy((uint8_t *)context + address, bytes, count);
    return true;
}

static bool read(void *context, uint32_t address, void *bytes, uint32_t count) {
    memcpy(bytes, (const uint8_t *)context + address, count);
    return true;
}

void memory_erase(memory_t *d) { memset(d->flash, 0xFF, sizeof d->flash); }

void memory_boot(memory_t *d, uint32_t window, bool has_flash) {
    d->driver = (mg_flash_t){erase, program, read, d->flash, SECTOR, SECTORS, 1};
    d->log = (mg_flash_log_t){.flash = &d->driver};
    d->port = (mg_serial_port_t){get, put, stack, d, window};
    CALL(_init)(&d->model);
    CALL(_serial_open)(&d->serial, &d->model, &d->port);
#if TRAINS
    if (has_flash) (void)CALL(_serial_keep)(&d->serial, &d->log);
#else
    (void)has_flash;
#endif
}

uint32_t memory_serve(memory_t *d, const uint8_t *bytes, uint32_t count, uint8_t *answer, uint32_t *room) {
    uint32_t requests = 0;
    d->next = bytes;
    d->left = count;
    d->answer = answer;
    d->room = *room;
    while (mg_serial_poll(&d->serial.line)) requests++;
    *room = d->room;
    return requests;
}

/* For callers that know no struct. */
memory_t *memory_new(void);
void *memory_model(memory_t *d);
uint32_t memory_model_bytes(void);
void memory_claim(memory_t *d);

memory_t *memory_new(void) {
    memory_t *const d = calloc(1, sizeof *d);
    if (d != NULL) memory_erase(d);
    return d;
}

void *memory_model(memory_t *d) { return &d->model; }

uint32_t memory_model_bytes(void) { return sizeof(CALL(_t)); }

void memory_claim(memory_t *d) { mg_serial_claim(&d->serial.line); }
