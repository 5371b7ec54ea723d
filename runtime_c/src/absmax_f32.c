/* The largest magnitude of a vector. */
#include "mg_internal.h"

float mg_absmax_f32(const float *x, int32_t n) {
    float largest = 1e-30f;
    for (int32_t i = 0; i < n; i++) {
        float size = mg_abs_f32(x[i]);
        largest = size > largest ? size : largest;
    }
    return largest;
}
