/* Softmax and its logarithm over the last axis, the maximum subtracted first. */
#include "mg_internal.h"

static float maximum(const float *x, int32_t n) {
    float largest = x[0];
    for (int32_t i = 1; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    return largest;
}

void mg_softmax_f32(const float *x, int32_t outer, int32_t n, float *y) {
    for (int32_t o = 0; o < outer; o++, x += n, y += n) {
        float largest = maximum(x, n), sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            y[i] = mg_exp_f32(x[i] - largest);
            sum = sum + y[i];
        }
        for (int32_t i = 0; i < n; i++) {
            y[i] = y[i] / sum;
        }
    }
}

void mg_log_softmax_f32(const float *x, int32_t outer, int32_t n, float *y) {
    for (int32_t o = 0; o < outer; o++, x += n, y += n) {
        float largest = maximum(x, n), sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            sum = sum + mg_exp_f32(x[i] - largest);
        }
        float log_sum = mg_log_f32(sum);
        for (int32_t i = 0; i < n; i++) {
            y[i] = (x[i] - largest) - log_sum;
        }
    }
}
