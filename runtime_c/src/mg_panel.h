/* Panels: four output positions of a convolution, expanded to int16 once and multiplied with every output channel.
 *
 * A panel holds, for every pair of taps (k, k + 1), a word a position: panel[(k / 2) * 8 + position * 2 + k % 2] is the
 * input value less its zero point, 0 where the window leaves the input and for the tap that makes K even. Words, because
 * cores with the DSP extension multiply two taps at a time; weights lie in pairs (mg_conv2d_rows_s8) for the same reason.
 */
#ifndef MG_PANEL_H
#define MG_PANEL_H

#include "mg_internal.h"

/* What all panels of a layer have in common; the assembly knows the offsets of its fields. */
typedef struct {
    mg_weights_t w;              /* in pairs */
    int32_t channel_pairs, taps; /* at least 1 each; taps: in pairs, Kp / 2 */
    int32_t y_channel;           /* from an output channel to the next */
    int32_t y_zero, y_min, y_max;
} mg_product_t;

/* y[c * y_channel + 4 * panel + position] of 2 * channel_pairs channels and `count` panels, one after the other, requantised as
 * mg_conv2d_s8 says. */
void mg_panel_product_s8(const mg_product_t *p, const int16_t *restrict panels, int32_t count, int8_t *restrict y);

/* The same. `wide`, aligned to 4 bytes: 4 * taps elements, where the weights of two channels are widened for all panels. */
void mg_strip_product_s8(const mg_product_t *p, const int16_t *restrict panels, int32_t count, int16_t *restrict wide,
                         int8_t *restrict y);

/* The same as mg_panel_product_s8 for one position, y[c] of 2 * channel_pairs channels: x holds the taps in their order, less
 * the zero point. */
void mg_position_product_s8(const mg_product_t *p, const int16_t *restrict x, int8_t *restrict y);

/* y[i] = x[i] - x_zero, n elements; y is aligned to 4 bytes. */
void mg_expand_s8(const int8_t *restrict x, int32_t n, int32_t x_zero, int16_t *restrict y);

/* The panel of four positions beside each other, x to x + 3, in each of `channels` planes `stride` apart. */
void mg_panel_pointwise_s8(const int8_t *restrict x, int32_t channels, int32_t stride, int32_t x_zero,
                           int16_t *restrict panel);

/* Of `count` panels, one after the other, the sums of products with two channels: acc[4 * panel + position] of the first,
 * acc[4 * count + ...] of the second. w, aligned to 4 bytes: of each pair of taps (`taps` of them) the first channel's weights,
 * then the second channel's. */
void mg_panel_sums_s8(const int16_t *restrict panel, const int16_t *restrict w, int32_t taps, int32_t count,
                      float *restrict acc);

/* What mg_panel_sums_s8 takes for the gradient of a pointwise convolution by its input channels c and c + 1: the taps are the
 * output channels, and there are zeros for a channel c + 1 == in_c and for the output channel that makes out_c even. */
void mg_weight_columns_s8(const int8_t *restrict w, int32_t in_c, int32_t out_c, int32_t c, int16_t *restrict to);
/* The same of weights in pairs (mg_conv2d_rows_s8), c even. */
void mg_weight_columns_of_pairs_s8(const int8_t *restrict w, int32_t in_c, int32_t out_c, int32_t c, int16_t *restrict to);

/* The panel of output positions (row, column) to (row, column + n - 1), n <= 4; a column past the last one is the first of
 * the next row. */
void mg_panel_im2col_s8(const mg_conv2d_rows_t *g, int32_t row, int32_t column, int32_t n, const int8_t *restrict x,
                        int16_t *restrict panel);

/* How windows are walked, and a row of their taps: at x in the next input channel, `step` from it to the one after. */
typedef struct {
    int32_t channels, rows, columns; /* rows, columns: of a window */
    int32_t stride, zero;            /* stride: from a window to the next one, 1 or 2 */
} mg_taps_t;
typedef struct {
    const int8_t *x;
    int32_t step;
} mg_line_t;
/* The panel of four windows beside each other that nowhere leave what the lines hold; moves the `rows` lines on. */
void mg_panel_taps_s8(const mg_taps_t *t, mg_line_t *lines, int16_t *restrict panel);

/* Two rows of n weights in pairs (mg_conv2d_rows_s8), `to` aligned to 4 bytes. */
void mg_weight_pairs_s8(const int8_t *even, const int8_t *odd, int32_t n, int8_t *restrict to);

/* Element offset of row r. */
static inline int32_t mg_row_offset(const mg_layout_t *layout, int32_t r) {
    return (r < layout->rows ? r : r % layout->rows) * layout->row;
}

/* Whether rows [first, first + count) of `width` elements follow each other without a gap. */
static inline bool mg_rows_contiguous(const mg_layout_t *layout, int32_t width, int32_t first, int32_t count) {
    return layout->row == width && first % layout->rows + count <= layout->rows;
}

/* How many of the output rows [first, first + count) are one stretch of positions: all or one. */
static inline int32_t mg_rows_at_once(const mg_conv2d_rows_t *g, int32_t first, int32_t count) {
    const mg_conv2d_t *c = &g->conv;
    const bool whole = mg_rows_contiguous(&g->y, c->out_w, first, count) &&
                       (!mg_is_pointwise(c) || mg_rows_contiguous(&g->x, c->in_w, first, count));
    return whole ? count : 1;
}

#endif
