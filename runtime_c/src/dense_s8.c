/* The classifier in int8 with real outputs: what a loss reads is not rounded to an int8 grid. */
#include "mg_internal.h"

void mg_dense_s8(const int8_t *restrict x, const int8_t *restrict w, const int32_t *restrict bias,
                 const float *restrict scale, int32_t n_in, int32_t n_out, int32_t x_zero, float *restrict y) {
    for (int32_t o = 0; o < n_out; o++, w += n_in) {
        int32_t acc = 0;
        for (int32_t i = 0; i < n_in; i++) {
            acc += (x[i] - x_zero) * w[i];
        }
        y[o] = (float)(int32_t)((uint32_t)acc + (uint32_t)bias[o]) * scale[o];
    }
}
