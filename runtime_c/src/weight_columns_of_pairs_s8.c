/* Transposed weights, two input channels at a time, from weights in pairs. */
#include "mg_panel.h"

#if !MG_ARMV7EM

void mg_weight_columns_of_pairs_s8(const int8_t *restrict w, int32_t in_c, int32_t out_c, int32_t c, int16_t *restrict to) {
    const int32_t stride = 2 * (in_c + in_c % 2);
    w += 2 * c;
    for (int32_t o = 0; o < out_c; o += 2, w += stride, to += 4) {
        to[0] = w[0], to[1] = w[1];
        to[2] = w[2], to[3] = w[3];
    }
}

#endif
