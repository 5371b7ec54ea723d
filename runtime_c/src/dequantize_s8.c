/* int8 to float32. */
#include "mg_internal.h"

void mg_dequantize_s8(const int8_t *restrict x, int32_t n, float scale, int32_t zero, float *restrict y) {
    for (int32_t i = 0; i < n; i++) {
        y[i] = (float)(x[i] - zero) * scale;
    }
}
