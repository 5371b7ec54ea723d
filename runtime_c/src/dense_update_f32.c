/* Plain SGD of the float32 classifier, in place. */
#include "mg_internal.h"

MG_COLD
void mg_dense_update_f32(const float *restrict x, const float *restrict dy, int32_t n_in, int32_t n_out, float lr,
                         float *restrict w, float *restrict b) {
    for (int32_t o = 0; o < n_out; o++) {
        const float d = dy[o];
        if (w != NULL) {
            float *restrict row = w + (size_t)o * (size_t)n_in;
            for (int32_t i = 0; i < n_in; i++) {
                row[i] = row[i] - (d * x[i]) * lr;
            }
        }
        if (b != NULL) {
            b[o] = b[o] - d * lr;
        }
    }
}
