/* Panels times the weights of two channels. */
#include "mg_panel.h"

#if !MG_ARMV7EM

void mg_panel_sums_s8(const int16_t *restrict panel, const int16_t *restrict w, int32_t taps, int32_t count,
                      float *restrict acc) {
    for (int32_t i = 0; i < 4 * count; i++) {
        const int16_t *at = panel + i / 4 * 8 * taps + i % 4 * 2;
        int32_t first = 0, second = 0;
        for (int32_t k = 0; k < taps; k++, at += 8) {
            first += at[0] * w[4 * k] + at[1] * w[4 * k + 1];
            second += at[0] * w[4 * k + 2] + at[1] * w[4 * k + 3];
        }
        acc[i] = (float)first;
        acc[4 * count + i] = (float)second;
    }
}

#endif
