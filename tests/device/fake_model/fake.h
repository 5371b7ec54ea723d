/* A model with the C API of a compiled one, small enough to check by hand: a linear map of 12 int8 inputs to 4 outputs,
 * trained by the delta rule. FAKE_REGRESSION gives it float targets, FAKE_FROZEN takes its training away. */
#ifndef FAKE_H
#define FAKE_H

#include "mcugrad.h"

#define FAKE_INPUT_LEN 12
#define FAKE_OUTPUT_LEN 4
#define FAKE_PUSHED 0
#ifdef FAKE_REGRESSION
#define FAKE_TARGET_LEN 4
#else
#define FAKE_TARGET_LEN 0
#endif
#ifdef FAKE_FROZEN
#define FAKE_TRAINS 0
#else
#define FAKE_TRAINS 1
#endif
#ifndef FAKE_ARENA
#define FAKE_ARENA 64
#endif

typedef struct {
    float bias[FAKE_OUTPUT_LEN];
    int8_t weight[FAKE_OUTPUT_LEN * FAKE_INPUT_LEN];
    uint32_t seed, step, total_steps;
    int32_t schedule;
    float learning_rate;
    mg_loss_watch_t watch; /* all zero: this model never diverges */
} fake_state_t;

typedef struct {
    fake_state_t state;
    uint32_t clipped_errors, saturated_weights;
    float error_scale[1];
    _Alignas(8) uint8_t arena[FAKE_ARENA];
} fake_t;

void fake_init(fake_t *m);
int8_t *fake_input(fake_t *m);
void fake_predict(fake_t *m, const int8_t *x, float *outputs);
#if FAKE_TRAINS
bool fake_checkpoint_due(fake_t *m);
void fake_plan(fake_t *m, mg_schedule_t kind, float learning_rate, uint32_t total_steps, uint32_t seed);
#ifdef FAKE_REGRESSION
bool fake_train_step(fake_t *m, const int8_t *x, const float *target, float *loss);
#else
bool fake_train_step(fake_t *m, const int8_t *x, int32_t label, float *loss);
#endif
#endif

#endif
