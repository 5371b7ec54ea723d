/* The gradient of a dense layer by its weights, applied at once, for int8 errors: each output's error times a row of inputs. */
#include "mg_wgrad.h"
#include "subset.inc"

enum { AT_ONCE = 64 };

/* acc = row * error, n of them; exact. */
MG_HOT void scale_row(const float *row, int32_t n, float error, float *acc) {
    for (int32_t i = 0; i < n; i++) {
        acc[i] = row[i] * error;
    }
}

/* The weights that n inputs meet; index: of the first one's. */
static uint32_t update_columns(const mg_conv2d_t *g, const int8_t *e, const float *row, int32_t n, const mg_subset_t *subset,
                               const float *qas, float rate, uint32_t key, int32_t index, int8_t *w) {
    uint32_t saturated = 0;
    float acc[AT_ONCE];
    for (int32_t k = 0; k < trained_runs(subset->outputs, subset->n_outputs); k++) {
        const mg_range_t run = trained_run(subset->outputs, subset->n_outputs, k);
        for (int32_t oc = run.begin; oc < run.end; oc++) {
            const float factor = rate * qas[oc];
            if (qas[oc] != 0.0f) {
                scale_row(row, n, (float)e[oc], acc);
                saturated += mg_step_weights_s8(acc, n, &factor, key, (uint32_t)(oc * g->in_c + index),
                                                w + oc * subset->held + index);
            }
        }
    }
    return saturated;
}

MG_COLD
uint32_t mg_fully_connected_update_weight_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict x,
                                             const mg_subset_t *subset, const float *restrict qas, float rate,
                                             const mg_random_t *random, int8_t *restrict w) {
    const uint32_t key = mg_random_key(random);
    uint32_t saturated = 0;
    for (int32_t k = 0; k < trained_runs(subset->inputs, subset->n_inputs); k++) {
        const mg_range_t run = trained_run(subset->inputs, subset->n_inputs, k);
        for (int32_t c = run.begin; c < run.end; c += AT_ONCE) {
            const int32_t n = mg_min_i32(AT_ONCE, run.end - c);
            float row[AT_ONCE];
            for (int32_t i = 0; i < n; i++) {
                row[i] = (float)(x[c + i] - g->x_zero);
            }
            saturated += update_columns(g, e, row, n, subset, qas, rate, key, c, w);
        }
    }
    return saturated;
}
