/* The gradient of a pointwise convolution by its input: panels of the error times the transposed weights. */
#include "error.inc"
#include "mg_panel.h"
#include "variants.inc"

enum { MOST_PANELS = 16 };

/* The panels of n positions; the last four may overlap those before them. */
static void expand(const int8_t *e, int32_t out_c, int32_t plane, int32_t n, int16_t *panel) {
    for (int32_t i = 0; i < n; i += 4, panel += 4 * (out_c + out_c % 2)) {
        mg_panel_pointwise_s8(e + mg_min_i32(i, n - 4), out_c, plane, 0, panel);
    }
}

/* n sums of the `count` panels' positions in their order. */
static void close_up(float *row, int32_t n, int32_t count) {
    const int32_t last = 4 * (count - 1);
    for (int32_t k = 0; n < 4 * count && k < 4; k++) {
        row[n - 4 + k] = row[last + k];
    }
}

MG_COLD
void mg_conv2d_pointwise_dgrad_s8(const mg_conv2d_t *g, const int8_t *restrict e, const mg_split_weights_t *w,
                                  int32_t panels, int16_t *restrict scratch, mg_store_t *s) {
    const int32_t plane = g->in_h * g->in_w, even = g->out_c + g->out_c % 2;
    int16_t *const columns = scratch + panels * 4 * even;
    float acc[2 * 4 * MOST_PANELS];
    for (int32_t first = 0; first < plane; first += 4 * panels) {
        /* a last strip of fewer than four positions begins earlier; they are stored once */
        const int32_t from = mg_max_i32(0, mg_min_i32(first, plane - 4)), n = mg_min_i32(4 * panels, plane - from);
        const int32_t count = (n + 3) / 4, known = first - from;
        float *const second = acc + 4 * count;
        expand(e + from, g->out_c, plane, n, scratch);
        for (int32_t c = 0; c < g->in_c; c += 2) {
            if (!MG_DGRAD_OF_PAIRS || c < w->n) {
                mg_weight_columns_s8(w->first, w->n, g->out_c, c, columns);
            } else {
                mg_weight_columns_of_pairs_s8(w->pairs, g->in_c - w->n, g->out_c, c - w->n, columns);
            }
            mg_panel_sums_s8(scratch, columns, even / 2, count, acc);
            close_up(acc, n, count);
            close_up(second, n, count);
            if (n == plane && 4 * count == n && c + 1 < g->in_c) {
                mg_store_rows(s, c, c * plane, acc, plane, 2);
                continue;
            }
            mg_store_row(s, c, c * plane + first, 1, acc + known, n - known);
            if (c + 1 < g->in_c) {
                mg_store_row(s, c + 1, (c + 1) * plane + first, 1, second + known, n - known);
            }
        }
    }
}
