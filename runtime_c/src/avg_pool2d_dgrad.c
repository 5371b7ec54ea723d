/* The gradient of the average pool: each window hands its error, divided by its count, to every position it read. */
#include "error.inc"
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

void mg_avg_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, mg_store_t *s) {
    const bool whole = all_whole(g);
    const int32_t plane = g->out_h * g->out_w;
    const float share = 1.0f / (float)(g->k_h * g->k_w);
    for (int32_t iy = 0; iy < g->in_h; iy++) {
        const mg_reach_t ky = mg_reach(iy + g->pad_top, g->k_h, g->stride_h, g->dilation_h);
        const mg_range_t y = mg_reach_inside(&ky, g->out_h);
        for (int32_t ix = 0; ix < g->in_w; ix++) {
            const mg_reach_t kx = mg_reach(ix + g->pad_left, g->k_w, g->stride_w, g->dilation_w);
            const mg_range_t x = mg_reach_inside(&kx, g->out_w);
            for (int32_t c = 0; c < g->c; c++) {
                float acc = 0.0f;
                for (int32_t ty = y.end - 1; ty >= y.begin; ty--) { /* taps falling: outputs ascending */
                    const int32_t oy = ky.o - ty * ky.o_step, row = c * plane + oy * g->out_w;
                    for (int32_t tx = x.end - 1; tx >= x.begin; tx--) {
                        const int32_t ox = kx.o - tx * kx.o_step;
                        const float part =
                            whole ? share : 1.0f / (float)(mg_window_rows(g, oy) * mg_window_columns(g, ox));
                        acc = acc + mg_load_error(e, e_type, row + ox) * part;
                    }
                }
                mg_store(s, c, (c * g->in_h + iy) * g->in_w + ix, acc);
            }
        }
    }
}
