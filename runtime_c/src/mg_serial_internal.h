/* What serial.c (frames, sessions, order) and serial_verbs.c (what a request does) share. */
#ifndef MG_SERIAL_INTERNAL_H
#define MG_SERIAL_INTERNAL_H

#include <string.h>

#include "mg_serial.h"

static inline uint32_t mg_get32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline void mg_put32(uint8_t *bytes, uint32_t value) {
    for (uint32_t i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> 8 * i);
}

/* Appends to the answer. */
void mg_serial_add(mg_serial_t *s, uint32_t word);
void mg_serial_add_float(mg_serial_t *s, float value);
void mg_serial_add_bytes(mg_serial_t *s, const void *bytes, uint32_t count);

void mg_serial_info(mg_serial_t *s);
/* Executes the request once, with `bytes` of payload; the answer's payload is appended. */
mg_status_t mg_serial_execute(mg_serial_t *s, mg_verb_t verb, const uint8_t *payload, uint32_t bytes);
/* Half a sample and half a state are given up. */
void mg_serial_abandon(mg_serial_t *s);

#endif
