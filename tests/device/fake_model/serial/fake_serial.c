#include "fake_serial.h"

#include <stddef.h>

#if FAKE_TRAINS
const mg_model_id_t fake_id = {.hash = {0xFA, 0x4E}, .name = "fake", .bytes = sizeof(fake_state_t)};
#else
const mg_model_id_t fake_id = {.name = "fake"};
#endif

static void init(void *m) { fake_init((fake_t *)m); }

static int8_t *place(void *m) { return fake_input((fake_t *)m); }

static void predict(void *m, float *outputs) { fake_predict((fake_t *)m, place(m), outputs); }

#if FAKE_TRAINS
static bool train(void *m, const void *wanted, float *loss) {
#ifdef FAKE_REGRESSION
    return fake_train_step((fake_t *)m, place(m), (const float *)wanted, loss);
#else
    return fake_train_step((fake_t *)m, place(m), *(const int32_t *)wanted, loss);
#endif
}

static bool checkpoint_due(void *m) { return fake_checkpoint_due((fake_t *)m); }

static void replan(void *m, mg_schedule_t schedule, float learning_rate, uint32_t steps, uint32_t seed) {
    fake_plan((fake_t *)m, schedule, learning_rate, steps, seed);
}

static mg_load_t load(void *m, mg_flash_log_t *log) {
    const mg_load_t found = mg_flash_load(log, &fake_id, m);
    if (found == MG_LOAD_BROKEN) fake_init((fake_t *)m);
    return found;
}

static mg_save_t save(const void *m, mg_flash_log_t *log) {
    return mg_flash_save(log, &fake_id, m, ((const fake_t *)m)->state.step);
}

static bool clear(mg_flash_log_t *log) { return mg_flash_clear(log, &fake_id); }

static const mg_serial_keep_t keep = {load, save, clear};
#endif

static const mg_serial_model_t model = {
    .id = &fake_id,
    .input_len = FAKE_INPUT_LEN,
    .output_len = FAKE_OUTPUT_LEN,
    .target_len = FAKE_TARGET_LEN,
    .init = init,
    .place = place,
    .predict = predict,
#if FAKE_TRAINS
    .plan = offsetof(fake_t, state.seed),
    .counters = offsetof(fake_t, clipped_errors),
    .n_scales = 1,
    .train = train,
    .checkpoint_due = checkpoint_due,
    .replan = replan,
#endif
};

void fake_serial_open(fake_serial_t *s, fake_t *m, const mg_serial_port_t *port) {
    mg_serial_open(&s->line, &model, m, s->outputs, &s->wanted, port);
}

#if FAKE_TRAINS
mg_load_t fake_serial_keep(fake_serial_t *s, mg_flash_log_t *log) { return mg_serial_keep(&s->line, &keep, log); }
#endif
