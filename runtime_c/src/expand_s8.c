/* int8 to int16, less the zero point. */
#include "mg_panel.h"

#if !MG_ARMV7EM

void mg_expand_s8(const int8_t *restrict x, int32_t n, int32_t x_zero, int16_t *restrict y) {
    for (int32_t i = 0; i < n; i++) {
        y[i] = (int16_t)(x[i] - x_zero);
    }
}

#endif
