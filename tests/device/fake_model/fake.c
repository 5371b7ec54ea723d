#include "fake.h"

#include <string.h>

extern const int8_t fake_weight[FAKE_OUTPUT_LEN * FAKE_INPUT_LEN];

#ifdef MCUGRAD_PROFILE
void mcugrad_profile(uint16_t call);
#define PROFILE(call) mcugrad_profile(call)
#else
#define PROFILE(call) ((void)0)
#endif

void fake_init(fake_t *m) {
    memset(m, 0, sizeof *m);
    memcpy(m->state.weight, fake_weight, sizeof fake_weight);
}

int8_t *fake_input(fake_t *m) { return (int8_t *)m->arena; }

void fake_predict(fake_t *m, const int8_t *x, float *outputs) {
    for (int32_t o = 0; o < FAKE_OUTPUT_LEN; o++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < FAKE_INPUT_LEN; i++) sum += m->state.weight[o * FAKE_INPUT_LEN + i] * x[i];
        outputs[o] = (float)sum * 0x1p-11f + m->state.bias[o];
    }
    PROFILE(0);
}

#if FAKE_TRAINS
void fake_plan(fake_t *m, mg_schedule_t kind, float learning_rate, uint32_t total_steps, uint32_t seed) {
    m->state.schedule = (int32_t)kind;
    m->state.learning_rate = learning_rate;
    m->state.total_steps = total_steps;
    m->state.seed = seed;
    m->state.step = 0;
}

bool fake_checkpoint_due(fake_t *m) {
    (void)m;
    return false;
}

/* A decay to 0 whatever the kind, and a crude noise: this model tests the session, not the arithmetic. */
static float rate(const fake_t *m) {
    if (m->state.total_steps == 0) return m->state.learning_rate;
    return m->state.learning_rate * (1.0f - (float)m->state.step / (float)m->state.total_steps);
}

static float noise(const fake_t *m, int32_t i) {
    uint32_t x = (m->state.seed + m->state.step * 64u + (uint32_t)i) * 0x9E3779B9u;
    x ^= x >> 15;
    return (float)((x * 0x846ca68bu) >> 8) * 0x1p-24f;
}

static void update(fake_t *m, const int8_t *x, int32_t o, float error) {
    m->state.bias[o] -= error * rate(m);
    for (int32_t i = 0; i < FAKE_INPUT_LEN; i++) {
        const int32_t at = o * FAKE_INPUT_LEN + i;
        float change = (error * (float)x[i]) * rate(m);
        if (change > 512.0f) change = 512.0f;
        if (change < -512.0f) change = -512.0f;
        int32_t w = m->state.weight[at] + (int32_t)(noise(m, at) - change + 1024.0f) - 1024;
        if (w > 127 || w < -127) {
            w = w > 0 ? 127 : -127;
            m->saturated_weights++;
        }
        m->state.weight[at] = (int8_t)w;
    }
}

#ifdef FAKE_REGRESSION
bool fake_train_step(fake_t *m, const int8_t *x, const float *target, float *loss) {
#else
bool fake_train_step(fake_t *m, const int8_t *x, int32_t label, float *loss) {
#endif
    float d[FAKE_OUTPUT_LEN];
    fake_predict(m, x, d);
    *loss = 0.0f;
    for (int32_t o = 0; o < FAKE_OUTPUT_LEN; o++) {
#ifdef FAKE_REGRESSION
        d[o] = d[o] - target[o];
#else
        d[o] = d[o] - (o == label ? 1.0f : 0.0f);
#endif
        *loss = *loss + d[o] * d[o];
    }
    PROFILE(1);
    if (!(*loss < 1e30f)) return false;
    for (int32_t o = 0; o < FAKE_OUTPUT_LEN; o++) update(m, x, o, d[o]);
    m->state.step++;
    PROFILE(2);
    return true;
}
#endif
