/* Training as the session orders it. With MCUGRAD_CACHE_PREFIX the frozen prefix runs in the first epoch alone. */
#include "firmware.h"
#include "shuffle.h"
#include "timer.h"

#if TRAINS
#if TARGET_LEN == 0
#define WANTED mg_firmware.wanted.label
#else
#define WANTED mg_firmware.wanted.target
#endif

static void note(bool updated) {
    result->steps++;
    if (updated) return;
    if (!model->state.watch.diverged) result->not_finite++;
    else if (!result->diverged_step) result->diverged_step = result->steps;
}

/* The state as it is now is the last good one. */
static bool checkpoint(void) {
    result->restored_step = model->state.step;
    result->checkpoints++;
    return mg_io_save(STATE, STATE_BYTES) || mg_fail("checkpoint.bin cannot be written: is the disk full?");
}

float mg_step(void) {
    float loss = 0.0f;
    note(CALL(_train_step)(model, SAMPLE, WANTED, &loss));
    return loss;
}

void mg_plan(uint32_t steps) {
    CALL(_plan)(model, (mg_schedule_t)command->schedule, command->learning_rate,
                command->planned_steps ? command->planned_steps : steps, command->seed);
}

#ifdef MCUGRAD_CACHE_PREFIX
/* A handle of cache.bin, or below 0. */
static int32_t open_cache(void) {
    if (command->cache_len != PREFIX_LEN) {
        (void)mg_fail("session.bin is for another model: its prefix has another length");
        return -1;
    }
    const int32_t cache = mg_io_open_cache();
    if (cache < 0) (void)mg_fail("cache.bin cannot be opened");
    return cache;
}

/* A sample's record, between the arena and cache.bin. */
static bool move_record(int32_t cache, uint32_t index, bool out) {
    uint32_t offset = index * (uint32_t)PREFIX_LEN, bytes = 0;
    uint8_t *piece;
    for (uint32_t i = 0; (piece = CALL(_prefix_piece)(model, i, &bytes)) != NULL; i++, offset += bytes) {
        if (!(out ? mg_io_write_cache(cache, offset, piece, bytes) : mg_io_read_cache(cache, offset, piece, bytes)))
            return mg_fail("cache.bin cannot be read or written: is the disk full?");
    }
    return true;
}

static bool learn(int32_t cache, uint32_t index, bool first, float *loss) {
    if (!(first ? mg_load(index) : mg_load_wanted(index)) || !mg_label_in_range()) return false;
    uint32_t *const ticks = first ? result->first_ticks : result->later_ticks;
    uint32_t start = mg_timer_ticks();
    if (first) CALL(_prefix)(model, SAMPLE);
    mg_add_ticks(ticks, mg_timer_ticks() - start);
    if (!move_record(cache, index, first)) return false;
    start = mg_timer_ticks();
    note(CALL(_train_step_cached)(model, WANTED, loss));
    mg_add_ticks(ticks, mg_timer_ticks() - start);
    return true;
}
#else
static int32_t open_cache(void) {
    return command->cache_len == 0 || mg_fail("this firmware was built without MCUGRAD_CACHE_PREFIX") ? 0 : -1;
}

static bool learn(int32_t cache, uint32_t index, bool first, float *loss) {
    (void)cache;
    if (!mg_load(index) || !mg_label_in_range()) return false;
    const uint32_t start = mg_timer_ticks();
    *loss = mg_step();
    mg_add_ticks(first ? result->first_ticks : result->later_ticks, mg_timer_ticks() - start);
    return true;
}
#endif

static bool train_epoch(int32_t cache, uint32_t epoch) {
    const uint32_t n = command->n_train, key = mg_shuffle_key(command->seed, epoch);
    sum_t loss = {0.0f, 0.0f};
    uint32_t done = 0;
    while (done < n && !result->diverged_step) {
        float one = 0.0f;
        if (!learn(cache, command->shuffle ? mg_shuffle(key, done, n) : done, epoch == 0, &one)) return false;
        if (CALL(_checkpoint_due)(model) && !checkpoint()) return false;
        mg_add_float(&loss, one);
        done++;
        mg_progress("train", epoch, done, n, loss.sum / (float)done);
    }
    result->n_losses++;
    return mg_write_float(loss.sum / (float)done);
}

bool mg_train(void) {
    const int32_t cache = open_cache();
    if (cache < 0) return false;
    mg_plan(command->epochs * command->n_train);
    if (!checkpoint()) return false;
    for (uint32_t epoch = 0; epoch < command->epochs && !result->diverged_step; epoch++)
        if (!train_epoch(cache, epoch)) return false;
    return !result->diverged_step || mg_io_restore(STATE, STATE_BYTES) || mg_fail("checkpoint.bin cannot be read");
}

bool mg_steps(uint32_t first, uint32_t count, bool keep) {
    for (uint32_t i = 0; i < count; i++) {
        if (!mg_load((first + i) % command->n_train) || !mg_label_in_range()) return false;
        const float loss = mg_step();
        if (!keep) continue;
        if (!mg_write_float(loss)) return false;
        result->n_losses++;
        mg_progress("steps", 0, i + 1, count, loss);
    }
    return true;
}
#else
void mg_plan(uint32_t steps) { (void)steps; }
float mg_step(void) { return 0.0f; }
bool mg_train(void) { return mg_fail("this model was compiled without training"); }
bool mg_steps(uint32_t first, uint32_t count, bool keep) {
    (void)first;
    (void)keep;
    return count == 0 || mg_train();
}
#endif
