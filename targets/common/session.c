/* The firmware's main: one training session of any compiled model, one sample at a time, as the session file orders.
 * Ends with the line "@mcugrad ok <size of result.bin>"; a run without that line has failed. */
#include "firmware.h"
#include "line.h"
#include "stack.h"
#include "timer.h"

firmware_t mg_firmware;

_Static_assert(sizeof(mg_command_t) == 80 && sizeof(mg_result_t) == 128 && sizeof(mg_io_t) == 12, "session.h, footprint.py");

/* Lines are built in functions of their own, so that no pass of the model has one on the stack below it. */
__attribute__((noinline)) bool mg_fail(const char *why) {
    mg_line_t line;
    mg_line_begin(&line, "@mcugrad error ");
    mg_line_text(&line, why);
    mg_io_error(mg_line_end(&line));
    return false;
}

__attribute__((noinline)) void mg_progress(const char *phase, uint32_t epoch, uint32_t done, uint32_t total, float loss) {
    const uint32_t every = total / 64u + 1u;
    if (done % every && done != total) return;
    const union {
        float value;
        uint32_t bits;
    } l = {.value = loss};
    mg_line_t line;
    mg_line_begin(&line, "@mcugrad ");
    mg_line_text(&line, phase);
    mg_line_text(&line, " ");
    mg_line_number(&line, epoch);
    mg_line_text(&line, " ");
    mg_line_number(&line, done);
    mg_line_text(&line, " ");
    mg_line_number(&line, total);
    mg_line_text(&line, " ");
    mg_line_hex(&line, l.bits);
    mg_io_log(io, mg_line_end(&line));
}

static bool write_word(uint32_t word) { return mg_io_write(io, &word, 4) || mg_fail("result.bin cannot be written"); }

/* A NaN's sign and payload differ from core to core; the file holds one kind. */
bool mg_write_float(float v) {
    const union {
        float value;
        uint32_t bits;
    } f = {.value = v};
    return write_word(v != v ? 0x7FC00000u : f.bits);
}

static uint32_t record_offset(uint32_t index) {
    return (uint32_t)sizeof *command + command->state_len + index * RECORD_BYTES;
}

/* Of record `index` of the train (or, after them, the test) records: the label or target. */
bool mg_load_wanted(uint32_t index) {
    const uint32_t offset = record_offset(index) + (uint32_t)INPUT_LEN;
    return mg_io_read(io, offset, &mg_firmware.wanted, 4u * (uint32_t)TARGET_WORDS) ||
           mg_fail("session.bin ends before its last record");
}

/* The sample, straight into the model's input tensor, or row by row into its first layers. */
static bool load_sample(uint32_t offset) {
#if PUSHED
    for (uint32_t row = 0; row < ROWS; row++, offset += ROW_LEN) {
        int8_t *const place = CALL(_row)(model);
        if (!mg_io_read(io, offset, place, ROW_LEN)) return false;
        CALL(_push_rows)(model, place, 1);
    }
    return true;
#else
    return mg_io_read(io, offset, CALL(_input)(model), (uint32_t)INPUT_LEN);
#endif
}

/* And the sample. */
bool mg_load(uint32_t index) {
    return (load_sample(record_offset(index)) || mg_fail("session.bin ends before its last record")) && mg_load_wanted(index);
}

static void predict(void) { CALL(_predict)(model, SAMPLE, mg_firmware.outputs); }

bool mg_label_in_range(void) {
#if TARGET_LEN == 0
    if (mg_firmware.wanted.label < 0 || mg_firmware.wanted.label >= OUTPUT_LEN) return mg_fail("a label is out of range");
#endif
    return true;
}

#if TARGET_LEN == 0
static void score(uint32_t when, sum_t *loss) {
    (void)loss;
    int32_t best = 0;
    for (int32_t i = 1; i < OUTPUT_LEN; i++)
        if (mg_firmware.outputs[i] > mg_firmware.outputs[best]) best = i;
    if (best == mg_firmware.wanted.label) result->correct[when]++;
}
#else
_Static_assert(TARGET_LEN == OUTPUT_LEN, "a target for every output");
static void score(uint32_t when, sum_t *loss) {
    sum_t record = {0.0f, 0.0f};
    for (int32_t i = 0; i < OUTPUT_LEN; i++) {
        const float d = mg_firmware.outputs[i] - mg_firmware.wanted.target[i];
        mg_add_float(&record, d * d);
    }
    mg_add_float(loss, record.sum / (float)OUTPUT_LEN);
    result->loss[when] = loss->sum;
}
#endif

static bool evaluate(uint32_t when) {
    sum_t loss = {0.0f, 0.0f};
    for (uint32_t i = 0; i < command->n_test; i++) {
        if (!mg_load(command->n_train + i) || !mg_label_in_range()) return false;
        predict();
        score(when, &loss);
        mg_progress(when ? "after" : "before", 0, i + 1, command->n_test, loss.sum);
    }
    return true;
}

static bool predict_all(void) {
    for (uint32_t i = 0; i < command->n_test; i++) {
        if (!mg_load(command->n_train + i)) return false;
        predict();
        for (uint32_t o = 0; o < OUTPUT_LEN; o++)
            if (!mg_write_float(mg_firmware.outputs[o])) return false;
        result->n_outputs += (uint32_t)OUTPUT_LEN;
        mg_progress("predict", 0, i + 1, command->n_test, 0.0f);
    }
    return true;
}

#ifdef MCUGRAD_PROFILE
/* Called after every kernel call; an interval ends here and the next one begins behind the bookkeeping. */
void mcugrad_profile(uint16_t call);
void mcugrad_profile(uint16_t call) {
    const uint32_t ticks = mg_timer_ticks() - mg_firmware.profile_start;
    if (command->mode == MG_BENCH && result->n_timed) {
        const uint32_t pair[2] = {call, ticks};
        if (mg_io_write(io, pair, 8)) result->n_profile++;
    }
    mg_firmware.profile_start = mg_timer_ticks();
}

static bool mark(uint32_t pass) {
    result->n_profile++;
    return write_word(pass) && write_word(0);
}
#else
static bool mark(uint32_t pass) {
    (void)pass;
    return true;
}
#endif

/* Loads a record and starts the clock: behind the loading, or before it where the sample comes in rows, since the first
 * layers run meanwhile. */
static bool start_clock(uint32_t index, uint32_t pass, uint32_t *start) {
    if (!PUSHED && (!mg_load(index) || !mg_label_in_range())) return false;
    if (!mark(pass)) return false;
    *start = mg_firmware.profile_start = mg_timer_ticks();
    return !PUSHED || (mg_load(index) && mg_label_in_range());
}

/* One prediction and one training step of the same record, timed; the first steps, which measure the error scales and so
 * run kernels twice, are the warm-up. */
static bool bench(void) {
    const uint32_t n = command->n_train ? command->n_train : command->n_test;
    const uint32_t warmup = TRAINS ? command->warmup : 0;
    mg_plan(warmup + command->steps);
    if (!mg_steps(0, warmup, false)) return false;
    const uint32_t empty = mg_timer_ticks();
    result->timer_overhead = mg_timer_ticks() - empty;
    for (uint32_t i = 0; i < command->steps; i++) {
        uint32_t start;
        result->n_timed++;
        if (!start_clock(i % n, MG_PROFILE_PREDICT, &start)) return false;
        predict();
        mg_add_ticks(result->predict_ticks, mg_timer_ticks() - start);
        if (TRAINS) {
            if (!start_clock(i % n, MG_PROFILE_STEP, &start)) return false;
            (void)mg_step();
            mg_add_ticks(result->step_ticks, mg_timer_ticks() - start);
        }
        mg_progress("bench", 0, i + 1, command->steps, 0.0f);
    }
    return true;
}

/* Reads the command and, if there is one, the state; refuses what was not made for this model. */
static bool begin(void) {
    if (!mg_io_read(io, 0, &mg_firmware.command, sizeof *command)) return mg_fail("session.bin has no header");
    if (command->magic != MG_COMMAND_MAGIC || command->version != MG_SESSION_VERSION)
        return mg_fail("session.bin is not a session of this version");
    if (command->input_len != INPUT_LEN || command->output_len != OUTPUT_LEN || command->target_len != TARGET_LEN)
        return mg_fail("session.bin is for another model: its input, output or target length differs");
    if (command->state_len != 0 && command->state_len != STATE_BYTES)
        return mg_fail("session.bin holds the weights of another model: their size differs");
    if (((command->mode == MG_STEPS || command->mode == MG_TRAIN) && command->n_train == 0) ||
        (command->mode == MG_BENCH && command->n_train + (TRAINS ? 0 : command->n_test) == 0))
        return mg_fail("session.bin has no records to train with");
    CALL(_init)(model);
    return command->state_len == 0 || mg_io_read(io, sizeof *command, STATE, STATE_BYTES) ||
           mg_fail("session.bin ends inside its weights");
}

static bool obey(void) {
    switch (command->mode) {
    case MG_EVALUATE:
        return evaluate(1);
    case MG_TRAIN:
        return evaluate(0) && mg_train() && evaluate(1);
    case MG_STEPS:
        if (command->first_step == 0) mg_plan(command->steps);
        return mg_steps(command->first_step, command->steps, true);
    case MG_BENCH:
        return bench();
    case MG_PREDICT:
        return predict_all();
    default:
        return mg_fail("session.bin orders something unknown");
    }
}

__attribute__((noinline)) static void succeed(void) {
    mg_line_t line;
    mg_line_begin(&line, "@mcugrad ok ");
    mg_line_number(&line, (uint32_t)sizeof *result + 4u * (result->n_losses + result->n_outputs + 2u * result->n_profile) +
                              STATE_BYTES);
    mg_io_log(io, mg_line_end(&line));
}

static bool finish(void) {
    result->magic = MG_RESULT_MAGIC;
    result->version = MG_SESSION_VERSION;
    result->mode = command->mode;
    result->state_len = STATE_BYTES;
#if TRAINS
    result->clipped_errors = model->clipped_errors;
    result->saturated_weights = model->saturated_weights;
#endif
    result->stack_reserve = mg_stack_reserve();
    if (STATE_BYTES && !mg_io_write(io, STATE, STATE_BYTES)) return mg_fail("result.bin cannot be written");
    result->stack_high_water = mg_stack_high_water();
    /* The header goes last: a result.bin whose header is empty is one of a run that broke off. */
    if (!mg_io_rewind(io) || !mg_io_write(io, result, sizeof *result) || !mg_io_close(io))
        return mg_fail("result.bin cannot be written");
    succeed();
    return true;
}

int main(void) {
    mg_timer_start();
    if (!mg_io_open(&mg_firmware.io)) return mg_fail("session.bin cannot be opened, or result.bin not written") ? 0 : 2;
    const bool done = begin() && (mg_io_write(io, result, sizeof *result) || mg_fail("result.bin cannot be written")) &&
                      obey() && finish();
    return done ? 0 : 2;
}
