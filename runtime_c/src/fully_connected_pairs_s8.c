/* Gemm and MatMul: one position, weights in pairs. */
#include "mg_panel.h"

void mg_fully_connected_pairs_s8(const mg_conv2d_t *g, const int8_t *restrict x, const mg_weights_t *w,
                                 int16_t *restrict scratch, int8_t *restrict y) {
    const int32_t taps = (g->in_c + 1) / 2;
    const mg_product_t layer = {*w, g->out_c / 2, taps, 1, g->y_zero, g->y_min, g->y_max};
    scratch[2 * taps - 1] = 0;
    mg_expand_s8(x, g->in_c, g->x_zero, scratch);
    if (layer.channel_pairs > 0) {
        mg_position_product_s8(&layer, scratch, y);
    }
    if (g->out_c % 2 != 0) { /* a lone last channel, by way of a buffer */
        const int32_t last = g->out_c - 1;
        const int32_t bias[2] = {w->bias[last], 0};
        const float scale[2] = {w->scale[last], 0.0f};
        const mg_weights_t part = {w->w + last * 2 * taps, bias, scale};
        const mg_product_t one = {part, 1, taps, 1, g->y_zero, g->y_min, g->y_max};
        int8_t buffer[2];
        mg_position_product_s8(&one, scratch, buffer);
        y[last] = buffer[0];
    }
}
