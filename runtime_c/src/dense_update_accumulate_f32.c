/* SGD of the float32 classifier whose steps add up before they apply, in place. */
#include "mg_internal.h"

void mg_dense_update_accumulate_f32(const float *restrict x, const float *restrict dy, int32_t n_in, int32_t n_out,
                                    float lr, bool apply, float *restrict pending, float *restrict w) {
    for (int32_t o = 0; o < n_out; o++, pending += n_in, w += n_in) {
        const float d = dy[o];
        for (int32_t i = 0; i < n_in; i++) {
            const float total = pending[i] + (d * x[i]) * lr;
            if (apply) {
                w[i] = w[i] - total;
            }
            pending[i] = apply ? 0.0f : total;
        }
    }
}
