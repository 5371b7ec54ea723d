/* Dense convolution by panels: four output positions times the weights of all output channels. */
#include "panel_expand.inc"

/* The channels from oc on at the first n positions of a panel, by way of a buffer. */
MG_HOT void multiply_part(const mg_product_t *layer, int32_t oc, int32_t out_c, const int16_t *panel, int32_t n,
                          int8_t *y) {
    for (; oc < out_c; oc += 2) {
        const int32_t second = mg_min_i32(oc + 1, out_c - 1); /* of a lone last channel nothing is stored twice */
        const int32_t bias[2] = {layer->w.bias[oc], layer->w.bias[second]};
        const float scale[2] = {layer->w.scale[oc], layer->w.scale[second]};
        const mg_weights_t w = {layer->w.w + oc * 2 * layer->taps, bias, scale};
        const mg_product_t part = {w, 1, layer->taps, 4, layer->y_zero, layer->y_min, layer->y_max};
        int8_t buffer[8];
        mg_panel_product_s8(&part, panel, 1, buffer);
        for (int32_t c = oc; c <= second; c++) {
            memcpy(y + c * layer->y_channel, buffer + (c - oc) * 4, (size_t)n);
        }
    }
}

/* A panel of n positions times all channels: whole panels and pairs of channels go straight to y. */
static void multiply(const mg_product_t *layer, int32_t out_c, const int16_t *panel, int32_t n, int8_t *y) {
    const int32_t whole = n == 4 ? 2 * layer->channel_pairs : 0;
    if (whole > 0) {
        mg_panel_product_s8(layer, panel, 1, y);
    }
    if (whole < out_c) {
        multiply_part(layer, whole, out_c, panel, n, y);
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
        expand(g, row, i, n, x, flat, panel);
        multiply(layer, c->out_c, panel, n, y + i);
    }
}

void mg_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *restrict x,
                       const mg_weights_t *w, int16_t *restrict scratch, int8_t *restrict y) {
    const mg_conv2d_t *c = &g->conv;
    const int32_t taps = (c->in_c * c->k_h * c->k_w + 1) / 2;
    const mg_product_t layer = {*w, c->out_c / 2, taps, g->y.channel, c->y_zero, c->y_min, c->y_max};
    const int32_t step = mg_rows_at_once(g, first, count);
    for (int32_t row = first; row < first + count; row += step) {
        const int8_t *flat = mg_is_pointwise(c) ? x + mg_row_offset(&g->x, row) : NULL;
        stretch(g, &layer, row, step * c->out_w, x, flat, scratch, y + mg_row_offset(&g->y, row));
    }
}
