/* A device that learns over many power-ons. session.bin says what (cuts_t, then the records); cache.bin counts its boots; in boot
 * number i the core is reset in the middle of flash operation cuts[i], counted from the power-on. Ends with the whole state in
 * result.bin and the line "@done BOOTS". */
#include <string.h>

#include "board.h"
#include "firmware.h"
#include "line.h"
#include "storage.h"

enum { CUTS = 128 };

typedef struct {
    uint32_t records, steps, save_every, seed, n_cuts, cuts[CUTS];
    float learning_rate;
    uint32_t last_save; /* of a power-on, after which it waits for the plug to be pulled; 0: none */
} cuts_t;

firmware_t mg_firmware;
static cuts_t plan;
static mg_flash_t flash;
static const mg_flash_t *inner;
static mg_flash_log_t flash_log;
static uint32_t boots, operations, cut_at;

static void say(const char *what, uint32_t number) {
    mg_line_t line;
    mg_line_begin(&line, what);
    mg_line_number(&line, number);
    mg_io_log(&mg_firmware.io, mg_line_end(&line));
}

__attribute__((noreturn)) static void reset_core(void) {
    (void)mg_io_close(&mg_firmware.io);
    *mg_register(0xE000ED0Cu) = 0x05FA0004u; /* AIRCR: SYSRESETREQ */
    for (;;) {
    }
}

static bool erase(void *context, uint32_t address) {
    const bool now = operations++ == cut_at;
    if (now && boots % 2) reset_core();
    const bool done = inner->erase(context, address);
    if (now) reset_core();
    return done;
}

/* Block by block; the one that is cut is programmed to its half. */
static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    for (uint32_t at = 0; at < count; at += MG_STATE_BLOCK) {
        const uint8_t *const from = (const uint8_t *)bytes + at;
        const bool now = operations++ == cut_at;
        if (!inner->program(context, address + at, from, now ? MG_STATE_BLOCK / 2 : MG_STATE_BLOCK)) return false;
        if (now) reset_core();
    }
    return true;
}

static bool begin(void) {
    const int32_t counter = mg_io_open_cache();
    if (!mg_io_read(io, 0, &plan, sizeof plan) || !mg_io_read_cache(counter, 0, &boots, 4)) return false;
    const uint32_t next = boots + 1;
    if (!mg_io_write_cache(counter, 0, &next, 4)) return false;
    cut_at = boots < plan.n_cuts ? plan.cuts[boots] : 0xFFFFFFFFu;
    inner = mg_storage_open();
    flash = *inner;
    flash.erase = erase;
    flash.program = program;
    flash_log.flash = &flash;
    return true;
}

static bool learn(void) {
    const uint32_t record = (uint32_t)sizeof plan + model->state.step % plan.records * RECORD_BYTES;
    float loss;
    return mg_io_read(io, record, CALL(_input)(model), INPUT_LEN) &&
           mg_io_read(io, record + INPUT_LEN, &mg_firmware.wanted, 4) &&
           CALL(_train_step)(model, CALL(_input)(model), mg_firmware.wanted.label, &loss);
}

int main(void) {
    if (!mg_io_open(&mg_firmware.io) || !begin()) return 2;
    CALL(_init)(model);
    const mg_load_t found = CALL(_load)(model, &flash_log);
    say("@found ", (uint32_t)found);
    if (found != MG_LOADED) CALL(_plan)(model, MG_COSINE, plan.learning_rate, plan.steps, plan.seed);
    for (uint32_t saves = 0; model->state.step < plan.steps;) {
        if (!learn()) return 3;
        if (model->state.step % plan.save_every != 0) continue;
        say("@saving ", model->state.step);
        if (CALL(_save)(model, &flash_log) != MG_SAVED) return 4;
        if (++saves == plan.last_save) {
            for (;;) {
            }
        }
    }
    if (!mg_io_write(io, STATE, STATE_BYTES) || !mg_io_close(io)) return 5;
    say("@done ", boots);
    return 0;
}
