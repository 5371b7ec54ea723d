/* The gradient of the average pool: each window hands its error, divided by its count, to every position it read. */
#include "error.inc"
#include "mg_reach.h"
#include "pool2d_count.inc"

/* Whether every window counts all k_h * k_w positions. */
static bool all_whole(const mg_pool2d_t *g) {
    bool whole = true;
    for (int32_t oy = 0; oy < g->out_h; oy++) {
        whole = whole && mg_window_rows(g, oy) == g->k_h;
    }
    for (int32_t ox = 0; ox < g->out_w; ox++) {
        whole = whole && mg_window_columns(g, ox) == g->k_w;
    }
    return whole;
}

/* The sum for one element of channel c. `share`: of every window if they are all whole, else 0. */
static float gather(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, int32_t c, const mg_reached_t *y,
                    const mg_reached_t *x, float share) {
    float acc = 0.0f;
    for (int32_t ty = y->inside.end - 1; ty >= y->inside.begin; ty--) { /* taps falling: outputs ascending */
        const int32_t oy = y->at.o - ty * y->at.o_step, row = (c * g->out_h + oy) * g->out_w;
        for (int32_t tx = x->inside.end - 1; tx >= x->inside.begin; tx--) {
            const int32_t ox = x->at.o - tx * x->at.o_step;
            const float part =
                share != 0.0f ? share : 1.0f / (float)(mg_window_rows(g, oy) * mg_window_columns(g, ox));
            acc = acc + mg_load_error(e, e_type, row + ox) * part;
        }
    }
    return acc;
}

MG_COLD
void mg_avg_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, mg_store_t *s) {
    const float share = all_whole(g) ? 1.0f / (float)(g->k_h * g->k_w) : 0.0f;
    for (int32_t iy = 0; iy < g->in_h; iy++) {
        const mg_reached_t y = mg_reached(iy + g->pad_top, g->k_h, g->stride_h, g->dilation_h, g->out_h);
        for (int32_t left = 0; left < g->in_w; left += MG_COLUMNS) {
            mg_reached_t x[MG_COLUMNS];
            const int32_t n = mg_min_i32(MG_COLUMNS, g->in_w - left);
            for (int32_t i = 0; i < n; i++) {
                x[i] = mg_reached(left + i + g->pad_left, g->k_w, g->stride_w, g->dilation_w, g->out_w);
            }
            for (int32_t c = 0; c < g->c; c++) {
                float acc[MG_COLUMNS];
                for (int32_t i = 0; i < n; i++) {
                    acc[i] = gather(g, e, e_type, c, &y, &x[i], share);
                }
                mg_store_row(s, c, (c * g->in_h + iy) * g->in_w + left, 1, acc, n);
            }
        }
    }
}
