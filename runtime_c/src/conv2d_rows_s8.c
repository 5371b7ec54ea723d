/* Dense convolution by panels: four output positions times the weights of all output channels. */
#include "mg_panel.h"

/* A panel of n positions times all channels. Whole panels and pairs go straight to y, the rest by way of a buffer. */
static void multiply(const mg_product_t *layer, int32_t out_c, const int16_t *panel, int32_t n, int8_t *y) {
    mg_product_t part = *layer;
    part.channel_pairs = n == 4 ? out_c / 2 : 0;
    int32_t oc = 2 * part.channel_pairs;
    if (oc > 0) {
        mg_panel_product_s8(&part, panel, y);
    }
    for (; oc < out_c; oc += 2) {
        const int32_t second = mg_min_i32(oc + 1, out_c - 1); /* of a lone last channel nothing is stored twice */
        const int32_t bias[2] = {layer->w.bias[oc], layer->w.bias[second]};
        const float scale[2] = {layer->w.scale[oc], layer->w.scale[second]};
        int8_t buffer[8];
        part.w = (mg_weights_t){layer->w.w + oc * 2 * layer->taps, bias, scale};
        part.channel_pairs = 1, part.y_channel = 4;
        mg_panel_product_s8(&part, panel, buffer);
        for (int32_t c = oc; c <= second; c++) {
            memcpy(y + c * layer->y_channel, buffer + (c - oc) * 4, (size_t)n);
        }
    }
}

/* `length` output positions, contiguous in y, from column 0 of `row` on; `flat` are their inputs where these are contiguous
 * too, otherwise NULL. The last four may overlap those before them: computing outputs twice is cheaper than one by one. */
static void stretch(const mg_conv2d_rows_t *g, const mg_product_t *layer, int32_t row, int32_t length, const int8_t *x,
                    const int8_t *flat, int16_t *panel, int8_t *y) {
    const mg_conv2d_t *c = &g->conv;
    const int32_t n = mg_min_i32(4, length);
    for (int32_t i = 0; i < length; i += 4) {
        i = mg_min_i32(i, length - n);
        if (flat != NULL && n == 4) {
            mg_panel_pointwise_s8(flat + i, c->in_c, g->x.channel, c->x_zero, panel);
        } else {
            mg_panel_im2col_s8(g, row + i / c->out_w, i % c->out_w, n, x, panel);
        }
        multiply(layer, c->out_c, panel, n, y + i);
    }
}

/* Whether rows [first, first + count) of `width` elements follow each other without a gap. */
static bool contiguous(const mg_layout_t *layout, int32_t width, int32_t first, int32_t count) {
    return layout->row == width && first % layout->rows + count <= layout->rows;
}

void mg_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *restrict x,
                       const mg_weights_t *w, int16_t *restrict scratch, int8_t *restrict y) {
    const mg_conv2d_t *c = &g->conv;
    const int32_t taps = (c->in_c * c->k_h * c->k_w + 1) / 2;
    const mg_product_t layer = {*w, 0, taps, g->y.channel, c->y_zero, c->y_min, c->y_max};
    const bool pointwise = mg_is_pointwise(c), whole = contiguous(&g->y, c->out_w, first, count) &&
                                                       (!pointwise || contiguous(&g->x, c->in_w, first, count));
    const int32_t step = whole ? count : 1;
    for (int32_t row = first; row < first + count; row += step) {
        const int8_t *flat = pointwise ? x + mg_row_offset(&g->x, row) : NULL;
        stretch(g, &layer, row, step * c->out_w, x, flat, scratch, y + mg_row_offset(&g->y, row));
    }
}
