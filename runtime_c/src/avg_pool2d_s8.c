/* The mean of each window. */
#include "pool2d_count.inc"

MG_COLD
void mg_avg_pool2d_s8(const mg_pool2d_t *g, float scale, const int8_t *restrict x, int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    for (int32_t c = 0; c < g->c; c++, x += g->in_h * g->in_w) {
        for (int32_t oy = 0; oy < g->out_h; oy++) {
            const int32_t top = oy * g->stride_h - g->pad_top, counted = mg_window_rows(g, oy);
            const mg_range_t rows = mg_taps_inside(top, g->k_h, g->dilation_h, g->in_h);
            for (int32_t ox = 0; ox < g->out_w; ox++) {
                const int32_t left = ox * g->stride_w - g->pad_left;
                const mg_range_t columns = mg_taps_inside(left, g->k_w, g->dilation_w, g->in_w);
                const int32_t width = columns.end - columns.begin;
                int32_t sum = 0;
                for (int32_t ky = rows.begin; ky < rows.end; ky++) {
                    int32_t at = (top + ky * g->dilation_h) * g->in_w + left + columns.begin * g->dilation_w;
                    for (int32_t k = 0; k < width; k++, at += g->dilation_w) {
                        sum += x[at];
                    }
                }
                sum -= g->x_zero * width * (rows.end - rows.begin);
                const float n = (float)(counted * mg_window_columns(g, ox));
                *y++ = mg_to_grid(&grid, (float)sum * (scale / n));
            }
        }
    }
}
