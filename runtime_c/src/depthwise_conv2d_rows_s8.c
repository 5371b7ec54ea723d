/* Depthwise convolution: every output channel reads one input channel. */
#include "mg_depthwise.h"

void mg_depthwise_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *restrict x,
                                 const mg_weights_t *w, int16_t *restrict scratch, int8_t *restrict y) {
    const mg_conv2d_t *conv = &g->conv;
    const int32_t multiplier = conv->out_c / conv->in_c, taps = conv->k_h * conv->k_w, end = first + count;
    mg_depthwise_t d;
    mg_depthwise_begin(&d, conv, &g->x, &g->y, count, scratch);
    for (int32_t oy = first; oy < end; oy += d.tile_rows) {
        for (int32_t ox = 0; ox < conv->out_w; ox += d.tile_w) {
            mg_depthwise_tile(&d, oy, end, ox);
            mg_weights_t at = *w;
            const int8_t *from = x;
            int8_t *to = y;
            for (int32_t c = conv->in_c; c > 0; c--, from += g->x.channel) {
                mg_depthwise_widen(&d, from);
                for (int32_t m = multiplier; m > 0; m--, to += g->y.channel, at.w += taps, at.bias++, at.scale++) {
                    mg_depthwise_requantized(&d, &at, to);
                }
            }
        }
    }
}
