/* Transposed weights, two input channels at a time. */
#include "mg_panel.h"

#if !MG_ARMV7EM

void mg_weight_columns_s8(const int8_t *restrict w, int32_t in_c, int32_t out_c, int32_t c, int16_t *restrict to) {
    for (int32_t o = 0; o < out_c + out_c % 2; o++) {
        int16_t *const at = to + o / 2 * 4 + o % 2;
        at[0] = o < out_c ? w[o * in_c + c] : 0;
        at[2] = o < out_c && c + 1 < in_c ? w[o * in_c + c + 1] : 0;
    }
}

#endif
