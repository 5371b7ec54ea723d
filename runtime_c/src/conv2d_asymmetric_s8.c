/* Convolution, any shape, of weights with a zero point. */
#include "mg_internal.h"

/* The window of one output, from its first inside tap on; both zero points go with each term. */
typedef struct {
    int32_t channels, rows, columns;
    int32_t x_channel, x_row, x_step; /* from a tap to the next, in elements of x */
    int32_t w_channel, w_row;         /* the same in w, where columns are contiguous */
} window_t;

MG_HOT int32_t window_sum(const window_t *v, const int8_t *x, const int8_t *w, int32_t x_zero, int32_t w_zero) {
    const int32_t step = v->x_step;
    int32_t acc = 0;
    for (int32_t c = 0; c < v->channels; c++, x += v->x_channel, w += v->w_channel) {
        for (int32_t r = 0; r < v->rows; r++) {
            const int8_t *at = x + r * v->x_row, *tap = w + r * v->w_row;
            for (int32_t n = v->columns; n > 0; n--, at += step) {
                acc += (*at - x_zero) * (*tap++ - w_zero);
            }
        }
    }
    return acc;
}

void mg_conv2d_asymmetric_s8(const mg_conv2d_t *geometry, const int8_t *restrict x, const int8_t *restrict w,
                             const int8_t *restrict w_zero, const int32_t *restrict bias, const float *restrict scale,
                             int8_t *restrict y) {
    const mg_conv2d_t flat = mg_conv2d_rows(geometry), *g = &flat;
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const int32_t channels = g->in_c / g->groups, per_group = g->out_c / g->groups, taps = g->k_h * g->k_w;
    window_t v = {channels, 0, 0, g->in_h * g->in_w, g->dilation_h * g->in_w, g->dilation_w, taps, g->k_w};
    for (int32_t oc = 0; oc < g->out_c; oc++, w += channels * taps) {
        const int8_t *from = x + oc / per_group * channels * v.x_channel;
        const uint32_t b = bias != NULL ? (uint32_t)bias[oc] : 0u;
        for (int32_t oy = 0; oy < g->out_h; oy++) {
            const int32_t top = oy * g->stride_h - g->pad_top;
            const mg_range_t rows = mg_taps_inside(top, g->k_h, g->dilation_h, g->in_h);
            v.rows = rows.end - rows.begin;
            const int32_t line = v.rows > 0 ? (top + rows.begin * g->dilation_h) * g->in_w : 0;
            for (int32_t ox = 0; ox < g->out_w; ox++) {
                const int32_t left = ox * g->stride_w - g->pad_left;
                const mg_range_t columns = mg_taps_inside(left, g->k_w, g->dilation_w, g->in_w);
                v.columns = columns.end - columns.begin;
                const int32_t start = v.columns > 0 ? left + columns.begin * g->dilation_w : 0;
                const int8_t *tap = w + (rows.begin * g->k_w + columns.begin);
                const int32_t acc = window_sum(&v, from + (line + start), tap, g->x_zero, w_zero[oc]);
                *y++ = mg_to_grid(&grid, (float)(int32_t)((uint32_t)acc + b) * scale[oc]);
            }
        }
    }
}
