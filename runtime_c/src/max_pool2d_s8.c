/* The maximum of each window. */
#include "mg_internal.h"

MG_COLD
void mg_max_pool2d_s8(const mg_pool2d_t *g, const int8_t *restrict x, int8_t *restrict y) {
    for (int32_t c = 0; c < g->c; c++, x += g->in_h * g->in_w) {
        for (int32_t oy = 0; oy < g->out_h; oy++) {
            const int32_t top = oy * g->stride_h - g->pad_top;
            const mg_range_t rows = mg_taps_inside(top, g->k_h, g->dilation_h, g->in_h);
            for (int32_t ox = 0; ox < g->out_w; ox++) {
                const int32_t left = ox * g->stride_w - g->pad_left;
                const mg_range_t columns = mg_taps_inside(left, g->k_w, g->dilation_w, g->in_w);
                int32_t largest = -128;
                for (int32_t ky = rows.begin; ky < rows.end; ky++) {
                    int32_t at = (top + ky * g->dilation_h) * g->in_w + left + columns.begin * g->dilation_w;
                    for (int32_t k = columns.begin; k < columns.end; k++, at += g->dilation_w) {
                        largest = mg_max_i32(largest, x[at]);
                    }
                }
                *y++ = (int8_t)mg_max_i32(mg_min_i32(largest, g->y_max), g->y_min);
            }
        }
    }
}
