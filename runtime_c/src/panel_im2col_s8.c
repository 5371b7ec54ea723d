/* Panels of any convolution (im2col). */
#include "mg_panel.h"

enum { LINES = 8, BLANK = 16 }; /* windows up to LINES rows and BLANK - 6 columns go the fast way */

/* One row of taps of every input channel at one position: x and its first tap inside, `to` and the tap's index k. */
MG_HOT void expand_row(const mg_conv2d_t *c, const int8_t *x, int32_t x_channel, mg_range_t inside, int32_t k,
                       int16_t *to) {
    const int32_t skip = c->k_h * c->k_w - inside.end + inside.begin;
    for (int32_t ic = c->in_c; ic > 0; ic--, x += x_channel, k += skip) {
        const int8_t *at = x;
        for (int32_t n = inside.end - inside.begin; n > 0; n--, k++, at += c->dilation_w) {
            to[(k >> 1) * 8 + (k & 1)] = (int16_t)(*at - c->x_zero);
        }
    }
}

static void expand_position(const mg_conv2d_rows_t *g, int32_t row, int32_t column, const int8_t *x, int16_t *to) {
    const mg_conv2d_t *c = &g->conv;
    const int32_t top = row * c->stride_h - c->pad_top, left = column * c->stride_w - c->pad_left;
    const mg_range_t rows = mg_taps_inside(top, c->k_h, c->dilation_h, c->in_h);
    const mg_range_t columns = mg_taps_inside(left, c->k_w, c->dilation_w, c->in_w);
    for (int32_t ky = rows.begin; ky < rows.end && columns.begin < columns.end; ky++) {
        const int8_t *line = x + mg_row_offset(&g->x, top + ky * c->dilation_h);
        expand_row(c, line + (left + columns.begin * c->dilation_w), g->x.channel, columns,
                   ky * c->k_w + columns.begin, to);
    }
}

/* Four positions in one row, whose windows start in column `left` and leave the input at the top or bottom only. */
static void expand_inside(const mg_conv2d_rows_t *g, int32_t row, int32_t left, const int8_t *x, int16_t *panel) {
    const mg_conv2d_t *c = &g->conv;
    const mg_taps_t taps = {c->in_c, c->k_h, c->k_w, c->stride_w, c->x_zero};
    mg_line_t lines[LINES];
    int8_t blank[BLANK]; /* what a row outside holds */
    int32_t iy = row * c->stride_h - c->pad_top;
    for (int32_t ky = 0; ky < c->k_h; ky++, iy += c->dilation_h) {
        if (iy >= 0 && iy < c->in_h) {
            lines[ky] = (mg_line_t){x + (mg_row_offset(&g->x, iy) + left), g->x.channel};
        } else {
            memset(blank, c->x_zero, sizeof blank);
            lines[ky] = (mg_line_t){blank, 0};
        }
    }
    mg_panel_taps_s8(&taps, lines, panel);
}

/* Any n positions. */
MG_COLD
static void expand_any(const mg_conv2d_rows_t *g, int32_t row, int32_t column, int32_t n, const int8_t *x, int16_t *panel) {
    const mg_conv2d_t *c = &g->conv;
    const int32_t taps = c->in_c * c->k_h * c->k_w;
    memset(panel, 0, (size_t)((taps + 1) / 2) * 16u);
    for (int32_t position = 0; position < n; position++) {
        expand_position(g, row, column, x, panel + 2 * position);
        if (++column == c->out_w) {
            column = 0, row++;
        }
    }
}

void mg_panel_im2col_s8(const mg_conv2d_rows_t *g, int32_t row, int32_t column, int32_t n, const int8_t *restrict x,
                        int16_t *restrict panel) {
    const mg_conv2d_t *c = &g->conv;
    const int32_t left = column * c->stride_w - c->pad_left;
    const bool fast = c->stride_w <= 2 && c->dilation_w == 1 && c->k_h <= LINES && c->k_w <= BLANK - 6;
    if (fast && n == 4 && column + 4 <= c->out_w && left >= 0 && left + 3 * c->stride_w + c->k_w <= c->in_w) {
        expand_inside(g, row, left, x, panel);
    } else {
        expand_any(g, row, column, n, x, panel);
    }
}
