/* The fake model behind a serial line, as a compiled one is. */
#ifndef FAKE_SERIAL_H
#define FAKE_SERIAL_H

#include "fake.h"
#include "mg_serial.h"

typedef struct {
    mg_serial_t line;
    float outputs[FAKE_OUTPUT_LEN];
    union {
        int32_t label;
        float target[FAKE_TARGET_LEN ? FAKE_TARGET_LEN : 1];
    } wanted;
} fake_serial_t;

extern const mg_model_id_t fake_id;

void fake_serial_open(fake_serial_t *s, fake_t *m, const mg_serial_port_t *port);
#if FAKE_TRAINS
mg_load_t fake_serial_keep(fake_serial_t *s, mg_flash_log_t *log);
#endif

#endif
