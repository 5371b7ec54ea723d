/* Panels times the weights of all output channels, requantised. */
#include "mg_panel.h"

#if !MG_ARMV7EM

/* Sums of two channels (rows of acc) at four positions. */
MG_HOT void panel_pair(const int16_t *restrict x, const int8_t *restrict w, int32_t taps, int32_t acc[2][4]) {
    for (int32_t position = 0; position < 4; position++, x += 2) {
        const int16_t *at = x;
        const int8_t *tap = w;
        int32_t first = 0, second = 0;
        for (int32_t n = taps; n > 0; n--, at += 8, tap += 4) {
            first += at[0] * tap[0] + at[1] * tap[2];
            second += at[0] * tap[1] + at[1] * tap[3];
        }
        acc[0][position] = first, acc[1][position] = second;
    }
}

void mg_panel_product_s8(const mg_product_t *p, const int16_t *restrict panels, int32_t count, int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(p->y_zero, p->y_min, p->y_max);
    for (; count > 0; count--, panels += 8 * p->taps, y += 4) {
        const int8_t *w = p->w.w;
        int8_t *to = y;
        for (int32_t oc = 0; oc < 2 * p->channel_pairs; oc += 2, w += 4 * p->taps) {
            int32_t acc[2][4];
            panel_pair(panels, w, p->taps, acc);
            for (int32_t c = 0; c < 2; c++, to += p->y_channel) {
                const uint32_t bias = (uint32_t)p->w.bias[oc + c];
                for (int32_t position = 0; position < 4; position++) {
                    const int32_t sum = (int32_t)((uint32_t)acc[c][position] + bias); /* may wrap */
                    to[position] = mg_to_grid(&grid, (float)sum * p->w.scale[oc + c]);
                }
            }
        }
    }
}

#endif
