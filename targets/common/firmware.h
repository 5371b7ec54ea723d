/* What the files of the session firmware share: the model by its macros, and everything that is not on the stack. */
#ifndef MG_FIRMWARE_H
#define MG_FIRMWARE_H

#include "io.h"
#include "mcugrad.h"
#include "session.h"
#include MG_MODEL_HEADER

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define CALL(function) PASTE(MG_MODEL, function)
#define INPUT_LEN PASTE(MG_MODEL_UPPER, _INPUT_LEN)
#define OUTPUT_LEN PASTE(MG_MODEL_UPPER, _OUTPUT_LEN)
#define TARGET_LEN PASTE(MG_MODEL_UPPER, _TARGET_LEN)
#define TRAINS PASTE(MG_MODEL_UPPER, _TRAINS)
#define PREFIX_LEN PASTE(MG_MODEL_UPPER, _PREFIX_LEN)
#define PUSHED PASTE(MG_MODEL_UPPER, _PUSHED)
/* The loaded sample, as the model's functions take it. */
#if PUSHED
#define SAMPLE NULL
#define ROWS PASTE(MG_MODEL_UPPER, _ROWS)
#define ROW_LEN PASTE(MG_MODEL_UPPER, _ROW_LEN)
#else
#define SAMPLE CALL(_input)(model)
#endif
/* A model that does not train has no state: nothing is read for it and nothing written. */
#if TRAINS
#define STATE ((void *)&model->state)
#define STATE_BYTES ((uint32_t)sizeof model->state)
#else
#define STATE NULL
#define STATE_BYTES 0u
#endif
#define TARGET_WORDS (TARGET_LEN ? TARGET_LEN : 1)
#define RECORD_BYTES ((uint32_t)INPUT_LEN + 4u * (uint32_t)TARGET_WORDS)

/* Everything a firmware keeps in .data and .bss, so that their size is known before it is linked
 * (compiler/mcugrad/simulate/footprint.py). */
typedef struct {
    _Alignas(8) CALL(_t) model;
    _Alignas(8) mg_command_t command;
    mg_result_t result;
    mg_io_t io;
    uint32_t profile_start;
    float outputs[OUTPUT_LEN];
    union {
        int32_t label;
        float target[TARGET_WORDS];
    } wanted;
} firmware_t;

extern firmware_t mg_firmware;
static CALL(_t) *const model = &mg_firmware.model;
static const mg_command_t *const command = &mg_firmware.command;
static mg_result_t *const result = &mg_firmware.result;
static const mg_io_t *const io = &mg_firmware.io;

/* Sum of many floats without a double: Kahan's, the same on every core. */
typedef struct {
    float sum, lost;
} sum_t;

static inline void mg_add_float(sum_t *s, float v) {
    const float corrected = v - s->lost;
    const float next = s->sum + corrected;
    s->lost = (next - s->sum) - corrected;
    s->sum = next;
}

static inline void mg_add_ticks(uint32_t sum[2], uint32_t ticks) {
    sum[0] += ticks;
    if (sum[0] < ticks) sum[1]++;
}

/* In session.c. A bool is false when the session cannot go on; why has been said. */
bool mg_fail(const char *why); /* says it; false */
void mg_progress(const char *phase, uint32_t epoch, uint32_t done, uint32_t total, float loss);
bool mg_write_float(float v);
bool mg_load(uint32_t index);        /* a record: the sample into the model, and what is wanted of it */
bool mg_load_wanted(uint32_t index); /* without the sample */
bool mg_label_in_range(void);

/* In train.c. */
void mg_plan(uint32_t steps);
float mg_step(void); /* with the loaded record; its loss */
bool mg_train(void);
bool mg_steps(uint32_t first, uint32_t count, bool keep);

#endif
