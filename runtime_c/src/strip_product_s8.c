/* A strip of panels times the weights of all output channels, requantised. */
#include "mg_panel.h"

#if !MG_ARMV7EM

/* A channel's sums at four positions of a panel. */
MG_HOT void panel_sums(const int16_t *restrict x, const int16_t *restrict w, int32_t taps, int32_t acc[4]) {
    for (int32_t position = 0; position < 4; position++, x += 2) {
        int32_t sum = 0;
        for (int32_t k = 0; k < taps; k++) {
            sum += x[8 * k] * w[4 * k] + x[8 * k + 1] * w[4 * k + 1];
        }
        acc[position] = sum;
    }
}

static void widen_pair(const int8_t *w, int32_t taps, int16_t *wide) {
    for (; taps > 0; taps--, w += 4, wide += 4) {
        wide[0] = w[0], wide[1] = w[2], wide[2] = w[1], wide[3] = w[3];
    }
}

void mg_strip_product_s8(const mg_product_t *p, const int16_t *restrict panels, int32_t count, int16_t *restrict wide,
                         int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(p->y_zero, p->y_min, p->y_max);
    for (int32_t oc = 0; oc < 2 * p->channel_pairs; oc++, y += p->y_channel) {
        const float scale = p->w.scale[oc];
        if (oc % 2 == 0) {
            widen_pair(p->w.w + oc * 2 * p->taps, p->taps, wide);
        }
        for (int32_t i = 0; i < count; i++) {
            int32_t acc[4];
            panel_sums(panels + i * 8 * p->taps, wide + oc % 2 * 2, p->taps, acc);
            for (int32_t position = 0; position < 4; position++) {
                const int32_t sum = (int32_t)((uint32_t)acc[position] + (uint32_t)p->w.bias[oc]); /* may wrap */
                y[4 * i + position] = mg_to_grid(&grid, (float)sum * scale);
            }
        }
    }
}

#endif
