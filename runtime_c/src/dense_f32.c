/* The float32 classifier. */
#include "mg_internal.h"

MG_COLD
void mg_dense_f32(const float *restrict w, const float *restrict b, const float *restrict x, int32_t n_in, int32_t n_out,
                  float *restrict y) {
    for (int32_t o = 0; o < n_out; o++, w += n_in) {
        float sum = 0.0f;
        for (int32_t i = 0; i < n_in; i++) {
            sum = sum + w[i] * x[i];
        }
        y[o] = b != NULL ? sum + b[o] : sum;
    }
}
