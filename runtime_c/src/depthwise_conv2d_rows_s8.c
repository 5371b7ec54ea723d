/* Depthwise convolution: every output channel reads one input channel. */
#include "mg_depthwise.h"

void mg_depthwise_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *restrict x,
                                 const mg_weights_t *w, int16_t *restrict scratch, int8_t *restrict y) {
    const mg_conv2d_t *conv = &g->conv;
    const int32_t multiplier = conv->out_c / conv->in_c, taps = conv->k_h * conv->k_w, end = first + count;
    mg_depthwise_t d;
    mg_depthwise_begin(&d, conv, count, scratch);
    for (int32_t oy = first; oy < end; oy += d.tile_rows) {
        for (int32_t ox = 0; ox < conv->out_w; ox += d.tile_w) {
            mg_depthwise_tile(&d, oy, end, ox);
            mg_weights_t at = *w;
            for (int32_t oc = 0; oc < conv->out_c; oc++, at.w += taps, at.bias++, at.scale++) {
                if (oc % multiplier == 0) {
                    mg_depthwise_widen(&d, &g->x, x + oc / multiplier * g->x.channel);
                }
                mg_depthwise_requantized(&d, &at, &g->y, y + oc * g->y.channel);
            }
        }
    }
}
