/* The gradient of the maximum pool: each window hands its error to its first maximum. */
#include "error.inc"

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

void mg_max_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, const int8_t *x, mg_store_t *s) {
    const int32_t in_plane = g->in_h * g->in_w, out_plane = g->out_h * g->out_w;
    for (int32_t iy = 0; iy < g->in_h; iy++) {
        const mg_reach_t ky = mg_reach(iy + g->pad_top, g->k_h, g->stride_h, g->dilation_h);
        const mg_range_t y = mg_reach_inside(&ky, g->out_h);
        for (int32_t ix = 0; ix < g->in_w; ix++) {
            const mg_reach_t kx = mg_reach(ix + g->pad_left, g->k_w, g->stride_w, g->dilation_w);
            const mg_range_t range = mg_reach_inside(&kx, g->out_w);
            for (int32_t c = 0; c < g->c; c++) {
                float acc = 0.0f;
                for (int32_t ty = y.end - 1; ty >= y.begin; ty--) { /* taps falling: outputs ascending */
                    const int32_t oy = ky.o - ty * ky.o_step, top = oy * g->stride_h - g->pad_top;
                    for (int32_t tx = range.end - 1; tx >= range.begin; tx--) {
                        const int32_t ox = kx.o - tx * kx.o_step, left = ox * g->stride_w - g->pad_left;
                        const int32_t row = ky.k + ty * ky.k_step, column = kx.k + tx * kx.k_step;
                        if (first_maximum(g, x + c * in_plane, top, left, row, column)) {
                            acc = acc + mg_load_error(e, e_type, c * out_plane + oy * g->out_w + ox);
                        }
                    }
                }
                mg_store(s, c, c * in_plane + iy * g->in_w + ix, acc);
            }
        }
    }
}
