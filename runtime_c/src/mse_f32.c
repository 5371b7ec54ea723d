/* Mean squared error of one sample, and its gradient. */
#include "mg_internal.h"

void mg_mse_f32(const float *x, const float *restrict target, int32_t n, float *restrict loss, float *d) {
    float sum = 0.0f, factor = 2.0f / (float)n;
    for (int32_t i = 0; i < n; i++) {
        float difference = x[i] - target[i];
        sum = sum + difference * difference;
        d[i] = difference * factor;
    }
    *loss = sum * (1.0f / (float)n);
}
