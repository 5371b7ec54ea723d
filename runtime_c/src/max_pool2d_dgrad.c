/* The gradient of the maximum pool: each window hands its error to its first maximum. */
#include "error.inc"
#include "mg_reach.h"

/* Whether tap (ky, kx) of the window at (top, left) of plane x is its first maximum: above all before it, below none. */
static bool first_maximum(const mg_pool2d_t *g, const int8_t *x, int32_t top, int32_t left, int32_t ky, int32_t kx) {
    const mg_range_t rows = mg_taps_inside(top, g->k_h, g->dilation_h, g->in_h);
    const mg_range_t columns = mg_taps_inside(left, g->k_w, g->dilation_w, g->in_w);
    const int32_t value = x[(top + ky * g->dilation_h) * g->in_w + left + kx * g->dilation_w];
    for (int32_t y = rows.begin; y < rows.end; y++) {
        int32_t at = (top + y * g->dilation_h) * g->in_w + left + columns.begin * g->dilation_w;
        for (int32_t c = columns.begin; c < columns.end; c++, at += g->dilation_w) {
            const bool before = y < ky || (y == ky && c < kx);
            if (x[at] > value || (before && x[at] == value)) {
                return false;
            }
        }
    }
    return true;
}

/* The sum for one element of a channel; e_first: the channel's first element of e, x its plane. */
static float gather(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, int32_t e_first, const int8_t *x,
                    const mg_reached_t *y, const mg_reached_t *column) {
    float acc = 0.0f;
    for (int32_t ty = y->inside.end - 1; ty >= y->inside.begin; ty--) { /* taps falling: outputs ascending */
        const int32_t oy = y->at.o - ty * y->at.o_step, ky = y->at.k + ty * y->at.k_step;
        for (int32_t tx = column->inside.end - 1; tx >= column->inside.begin; tx--) {
            const int32_t ox = column->at.o - tx * column->at.o_step, kx = column->at.k + tx * column->at.k_step;
            const int32_t top = oy * g->stride_h - g->pad_top, left = ox * g->stride_w - g->pad_left;
            if (first_maximum(g, x, top, left, ky, kx)) {
                acc = acc + mg_load_error(e, e_type, e_first + oy * g->out_w + ox);
            }
        }
    }
    return acc;
}

MG_COLD
void mg_max_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, const int8_t *x, mg_store_t *s) {
    const int32_t in_plane = g->in_h * g->in_w, out_plane = g->out_h * g->out_w;
    for (int32_t iy = 0; iy < g->in_h; iy++) {
        const mg_reached_t y = mg_reached(iy + g->pad_top, g->k_h, g->stride_h, g->dilation_h, g->out_h);
        for (int32_t left = 0; left < g->in_w; left += MG_COLUMNS) {
            mg_reached_t columns[MG_COLUMNS];
            const int32_t n = mg_min_i32(MG_COLUMNS, g->in_w - left);
            for (int32_t i = 0; i < n; i++) {
                columns[i] = mg_reached(left + i + g->pad_left, g->k_w, g->stride_w, g->dilation_w, g->out_w);
            }
            for (int32_t c = 0; c < g->c; c++) {
                float acc[MG_COLUMNS];
                for (int32_t i = 0; i < n; i++) {
                    acc[i] = gather(g, e, e_type, c * out_plane, x + c * in_plane, &y, &columns[i]);
                }
                mg_store_row(s, c, c * in_plane + iy * g->in_w + left, 1, acc, n);
            }
        }
    }
}
