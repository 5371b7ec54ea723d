/* The firmware's main: one training session of any compiled model, one sample at a time, as the session file orders.
 * Ends with the line "@mcugrad ok <size of result.bin>"; a run without that line has failed. */
#include "session.h"

#include "io.h"
#include "line.h"
#include "mcugrad.h"
#include "shuffle.h"
#include "stack.h"
#include "timer.h"
#include MG_MODEL_HEADER

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define CALL(function) PASTE(MG_MODEL, function)
#define INPUT_LEN PASTE(MG_MODEL_UPPER, _INPUT_LEN)
#define OUTPUT_LEN PASTE(MG_MODEL_UPPER, _OUTPUT_LEN)
#define TARGET_LEN PASTE(MG_MODEL_UPPER, _TARGET_LEN)
#define TRAINS PASTE(MG_MODEL_UPPER, _TRAINS)
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

static firmware_t mg_firmware;
static CALL(_t) *const model = &mg_firmware.model;
static const mg_command_t *const command = &mg_firmware.command;
static mg_result_t *const result = &mg_firmware.result;
static const mg_io_t *const io = &mg_firmware.io;

_Static_assert(sizeof(mg_command_t) == 80 && sizeof(mg_result_t) == 128 && sizeof(mg_io_t) == 12, "session.h, footprint.py");

/* Sum of many floats without a double: Kahan's, the same on every core. A model with labels and no training sums none. */
typedef struct {
    float sum, lost;
} sum_t;

__attribute__((unused)) static void add(sum_t *s, float v) {
    const float corrected = v - s->lost;
    const float next = s->sum + corrected;
    s->lost = (next - s->sum) - corrected;
    s->sum = next;
}

/* Lines are built in functions of their own, so that no pass of the model has one on the stack below it. */
__attribute__((noinline)) static bool fail(const char *why) {
    mg_line_t line;
    mg_line_begin(&line, "@mcugrad error ");
    mg_line_text(&line, why);
    mg_io_error(mg_line_end(&line));
    return false;
}

__attribute__((noinline)) static void progress(const char *phase, uint32_t epoch, uint32_t done, uint32_t total, float loss) {
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

static bool write_word(uint32_t word) { return mg_io_write(io, &word, 4) || fail("result.bin cannot be written"); }

/* A NaN's sign and payload differ from core to core; the file holds one kind. */
static bool write_float(float v) {
    const union {
        float value;
        uint32_t bits;
    } f = {.value = v};
    return write_word(v != v ? 0x7FC00000u : f.bits);
}

/* Record `index` of the train (or, after them, the test) records: straight into the model's input tensor. */
static bool load(uint32_t index) {
    const uint32_t offset = (uint32_t)sizeof *command + command->state_len + index * RECORD_BYTES;
    return (mg_io_read(io, offset, CALL(_input)(model), (uint32_t)INPUT_LEN) &&
            mg_io_read(io, offset + (uint32_t)INPUT_LEN, &mg_firmware.wanted, 4u * (uint32_t)TARGET_WORDS)) ||
           fail("session.bin ends before its last record");
}

static void predict(void) { CALL(_predict)(model, CALL(_input)(model), mg_firmware.outputs); }

static bool label_in_range(void) {
#if TARGET_LEN == 0
    if (mg_firmware.wanted.label < 0 || mg_firmware.wanted.label >= OUTPUT_LEN) return fail("a label is out of range");
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
        add(&record, d * d);
    }
    add(loss, record.sum / (float)OUTPUT_LEN);
    result->loss[when] = loss->sum;
}
#endif

static bool evaluate(uint32_t when) {
    sum_t loss = {0.0f, 0.0f};
    for (uint32_t i = 0; i < command->n_test; i++) {
        if (!load(command->n_train + i) || !label_in_range()) return false;
        predict();
        score(when, &loss);
        progress(when ? "after" : "before", 0, i + 1, command->n_test, loss.sum);
    }
    return true;
}

static bool predict_all(void) {
    for (uint32_t i = 0; i < command->n_test; i++) {
        if (!load(command->n_train + i)) return false;
        predict();
        for (uint32_t o = 0; o < OUTPUT_LEN; o++)
            if (!write_float(mg_firmware.outputs[o])) return false;
        result->n_outputs += (uint32_t)OUTPUT_LEN;
        progress("predict", 0, i + 1, command->n_test, 0.0f);
    }
    return true;
}

#if TRAINS
static float step(void) {
    float loss = 0.0f;
#if TARGET_LEN == 0
    const bool finite = CALL(_train_step)(model, CALL(_input)(model), mg_firmware.wanted.label, &loss);
#else
    const bool finite = CALL(_train_step)(model, CALL(_input)(model), mg_firmware.wanted.target, &loss);
#endif
    result->steps++;
    if (!finite) result->not_finite++;
    return loss;
}

static void plan(uint32_t steps) {
    CALL(_plan)(model, (mg_schedule_t)command->schedule, command->learning_rate,
                command->planned_steps ? command->planned_steps : steps, command->seed);
}

static bool train(void) {
    const uint32_t n = command->n_train;
    plan(command->epochs * n);
    for (uint32_t epoch = 0; epoch < command->epochs; epoch++) {
        const uint32_t key = mg_shuffle_key(command->seed, epoch);
        sum_t loss = {0.0f, 0.0f};
        for (uint32_t i = 0; i < n; i++) {
            if (!load(command->shuffle ? mg_shuffle(key, i, n) : i) || !label_in_range()) return false;
            add(&loss, step());
            progress("train", epoch, i + 1, n, loss.sum / (float)(i + 1));
        }
        if (!write_float(loss.sum / (float)n)) return false;
        result->n_losses++;
    }
    return true;
}

static bool steps(uint32_t first, uint32_t count, bool keep) {
    for (uint32_t i = 0; i < count; i++) {
        if (!load((first + i) % command->n_train) || !label_in_range()) return false;
        const float loss = step();
        if (!keep) continue;
        if (!write_float(loss)) return false;
        result->n_losses++;
        progress("steps", 0, i + 1, count, loss);
    }
    return true;
}
#else
static void plan(uint32_t count) { (void)count; }
static float step(void) { return 0.0f; }
static bool train(void) { return fail("this model was compiled without training"); }
static bool steps(uint32_t first, uint32_t count, bool keep) {
    (void)first;
    (void)keep;
    return count == 0 || train();
}
#endif

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

static void add_ticks(uint32_t sum[2], uint32_t ticks) {
    sum[0] += ticks;
    if (sum[0] < ticks) sum[1]++;
}

/* One prediction and one training step of the same record, timed; the first steps, which measure the error scales and so
 * run kernels twice, are the warm-up. */
static bool bench(void) {
    const uint32_t n = command->n_train ? command->n_train : command->n_test;
    const uint32_t warmup = TRAINS ? command->warmup : 0;
    plan(warmup + command->steps);
    if (!steps(0, warmup, false)) return false;
    const uint32_t empty = mg_timer_ticks();
    result->timer_overhead = mg_timer_ticks() - empty;
    for (uint32_t i = 0; i < command->steps; i++) {
        result->n_timed++;
        if (!load(i % n) || !label_in_range() || !mark(MG_PROFILE_PREDICT)) return false;
        uint32_t start = mg_firmware.profile_start = mg_timer_ticks();
        predict();
        add_ticks(result->predict_ticks, mg_timer_ticks() - start);
        if (TRAINS) {
            if (!load(i % n) || !mark(MG_PROFILE_STEP)) return false;
            start = mg_firmware.profile_start = mg_timer_ticks();
            (void)step();
            add_ticks(result->step_ticks, mg_timer_ticks() - start);
        }
        progress("bench", 0, i + 1, command->steps, 0.0f);
    }
    return true;
}

/* Reads the command and, if there is one, the state; refuses what was not made for this model. */
static bool begin(void) {
    if (!mg_io_read(io, 0, &mg_firmware.command, sizeof *command)) return fail("session.bin has no header");
    if (command->magic != MG_COMMAND_MAGIC || command->version != MG_SESSION_VERSION)
        return fail("session.bin is not a session of this version");
    if (command->input_len != INPUT_LEN || command->output_len != OUTPUT_LEN || command->target_len != TARGET_LEN)
        return fail("session.bin is for another model: its input, output or target length differs");
    if (command->state_len != 0 && command->state_len != STATE_BYTES)
        return fail("session.bin holds the weights of another model: their size differs");
    if (((command->mode == MG_STEPS || command->mode == MG_TRAIN) && command->n_train == 0) ||
        (command->mode == MG_BENCH && command->n_train + (TRAINS ? 0 : command->n_test) == 0))
        return fail("session.bin has no records to train with");
    CALL(_init)(model);
    return command->state_len == 0 || mg_io_read(io, sizeof *command, STATE, STATE_BYTES) ||
           fail("session.bin ends inside its weights");
}

static bool obey(void) {
    switch (command->mode) {
    case MG_EVALUATE:
        return evaluate(1);
    case MG_TRAIN:
        return evaluate(0) && train() && evaluate(1);
    case MG_STEPS:
        if (command->first_step == 0) plan(command->steps);
        return steps(command->first_step, command->steps, true);
    case MG_BENCH:
        return bench();
    case MG_PREDICT:
        return predict_all();
    default:
        return fail("session.bin orders something unknown");
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
    if (STATE_BYTES && !mg_io_write(io, STATE, STATE_BYTES)) return fail("result.bin cannot be written");
    result->stack_high_water = mg_stack_high_water();
    /* The header goes last: a result.bin whose header is empty is one of a run that broke off. */
    if (!mg_io_rewind(io) || !mg_io_write(io, result, sizeof *result) || !mg_io_close(io))
        return fail("result.bin cannot be written");
    succeed();
    return true;
}

int main(void) {
    mg_timer_start();
    if (!mg_io_open(&mg_firmware.io)) return fail("session.bin cannot be opened, or result.bin not written") ? 0 : 2;
    const bool done = begin() && (mg_io_write(io, result, sizeof *result) || fail("result.bin cannot be written")) &&
                      obey() && finish();
    return done ? 0 : 2;
}
