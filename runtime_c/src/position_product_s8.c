/* One position times the weights of all output channels, requantised. */
#include "mg_panel.h"

#if !MG_ARMV7EM

/* The sums of two channels. */
MG_HOT void position_pair(const int16_t *restrict x, const int8_t *restrict w, int32_t taps, int32_t acc[2]) {
    int32_t first = 0, second = 0;
    for (; taps > 0; taps--, x += 2, w += 4) {
        first += x[0] * w[0] + x[1] * w[2];
        second += x[0] * w[1] + x[1] * w[3];
    }
    acc[0] = first, acc[1] = second;
}

void mg_position_product_s8(const mg_product_t *p, const int16_t *restrict x, int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(p->y_zero, p->y_min, p->y_max);
    const int8_t *w = p->w.w;
    for (int32_t oc = 0; oc < 2 * p->channel_pairs; oc += 2, w += 4 * p->taps) {
        int32_t acc[2];
        position_pair(x, w, p->taps, acc);
        for (int32_t c = oc; c < oc + 2; c++) {
            const int32_t sum = (int32_t)((uint32_t)acc[c - oc] + (uint32_t)p->w.bias[c]); /* may wrap */
            y[c] = mg_to_grid(&grid, (float)sum * p->w.scale[c]);
        }
    }
}

#endif
