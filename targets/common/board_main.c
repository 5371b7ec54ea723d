/* Firmware of a board by itself: says over the serial line what it holds, predicts and trains once to check itself, and
 * stands still with factory weights.
 * Compiled with -DMG_MODEL=watch -DMG_MODEL_UPPER=WATCH -DMG_MODEL_HEADER="watch.h" -DMG_BOARD="name". */
#include "board.h"
#include "line.h"
#include "stack.h"
#include "timer.h"
#include "uart.h"

#include MG_MODEL_HEADER

#include <string.h>

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define CALL(function) PASTE(MG_MODEL, function)
#define SIZE(what) PASTE(MG_MODEL_UPPER, what)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

int main(void);

/* Everything in .data and .bss. */
static struct {
    _Alignas(8) CALL(_t) model;
    float outputs[SIZE(_OUTPUT_LEN)];
} firmware;

static void say(mg_line_t *line) {
    for (const char *text = mg_line_end(line); *text; text++) mg_uart_put((uint8_t)*text);
}

/* A sample of zeros, as the model's functions take it. */
static const int8_t *sample(void) {
#if PASTE(MG_MODEL_UPPER, _PUSHED)
    for (uint32_t row = 0; row < SIZE(_ROWS); row++) {
        memset(CALL(_row)(&firmware.model), 0, SIZE(_ROW_LEN));
        CALL(_push_rows)(&firmware.model, CALL(_row)(&firmware.model), 1);
    }
    return NULL;
#else
    return memset(CALL(_input)(&firmware.model), 0, SIZE(_INPUT_LEN));
#endif
}

/* FNV-1a: equal on every board and on the host, where the bytes are. */
static uint32_t digest(const void *bytes, uint32_t n) {
    const unsigned char *const b = bytes;
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < n; i++) hash = (hash ^ b[i]) * 16777619u;
    return hash;
}

static void introduce(void) {
    mg_line_t line;
    mg_line_begin(&line, "mcugrad " TEXT(MG_MODEL) " on " MG_BOARD);
    say(&line);
    mg_line_begin(&line, "SRAM ");
    mg_line_number(&line, (uint32_t)sizeof firmware);
    mg_line_text(&line, ", input ");
    mg_line_number(&line, SIZE(_INPUT_LEN));
    mg_line_text(&line, ", output ");
    mg_line_number(&line, SIZE(_OUTPUT_LEN));
#if PASTE(MG_MODEL_UPPER, _TRAINS)
    mg_line_text(&line, ", state ");
    mg_line_number(&line, (uint32_t)sizeof firmware.model.state);
    mg_line_text(&line, ", model ");
    mg_line_text(&line, PASTE(MG_MODEL_UPPER, _MODEL_HASH));
#endif
    say(&line);
}

static void finish(mg_line_t *line, uint32_t found, uint32_t ticks) {
    mg_line_hex(line, found);
    mg_line_text(line, " in ");
    mg_line_number(line, ticks);
    mg_line_text(line, " ticks, stack ");
    mg_line_number(line, mg_stack_high_water());
    mg_line_text(line, " of ");
    mg_line_number(line, mg_stack_reserve());
    say(line);
}

static void check_prediction(void) {
    mg_line_t line;
    const int8_t *const x = sample();
    const uint32_t start = mg_timer_ticks();
    CALL(_predict)(&firmware.model, x, firmware.outputs);
    const uint32_t ticks = mg_timer_ticks() - start;
    mg_line_begin(&line, "self-check: outputs ");
    finish(&line, digest(firmware.outputs, sizeof firmware.outputs), ticks);
}

static void check_training(void) {
#if PASTE(MG_MODEL_UPPER, _TRAINS)
#if PASTE(MG_MODEL_UPPER, _TARGET_LEN)
    static const float wanted[SIZE(_TARGET_LEN)];
#else
    const int32_t wanted = 0;
#endif
    mg_line_t line;
    float loss;
    CALL(_plan)(&firmware.model, MG_CONSTANT, 0.001f, 1, 1);
    const int8_t *const x = sample();
    const uint32_t start = mg_timer_ticks();
    (void)CALL(_train_step)(&firmware.model, x, wanted, &loss);
    const uint32_t ticks = mg_timer_ticks() - start;
    mg_line_begin(&line, "self-check: state ");
    finish(&line, digest(&firmware.model.state, sizeof firmware.model.state), ticks);
    CALL(_init)(&firmware.model);
#endif
}

int main(void) {
    mg_uart_open();
    mg_timer_start();
    CALL(_init)(&firmware.model);
    introduce();
    check_prediction();
    check_training();
    for (;;) {
    }
}
