/* Panels of pointwise convolutions. */
#include "mg_panel.h"

#if !MG_ARMV7EM

void mg_panel_pointwise_s8(const int8_t *restrict x, int32_t channels, int32_t stride, int32_t x_zero,
                           int16_t *restrict panel) {
    for (int32_t c = 0; c < channels; c++, x += stride) {
        int16_t *to = panel + c / 2 * 8 + c % 2;
        for (int32_t position = 0; position < 4; position++) {
            to[2 * position] = (int16_t)(x[position] - x_zero);
        }
    }
    for (int32_t position = 0; channels % 2 != 0 && position < 4; position++) {
        panel[channels / 2 * 8 + 2 * position + 1] = 0;
    }
}

#endif
