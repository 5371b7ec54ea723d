/* A convolution and the depthwise convolution that follows it, a channel at a time: the tensor between them, the widest
 * of an inverted bottleneck, never exists. */
#include "mg_depthwise.h"

void mg_conv2d_depthwise_s8(const mg_conv2d_t *conv, const mg_conv2d_t *depthwise, const int8_t *restrict x,
                            const mg_weights_t *first, const mg_weights_t *second, int8_t *restrict plane,
                            int16_t *restrict scratch, int8_t *restrict y) {
    const int32_t multiplier = depthwise->out_c / depthwise->in_c, taps = depthwise->k_h * depthwise->k_w;
    const int32_t w_step = conv->in_c * conv->k_h * conv->k_w, y_step = depthwise->out_h * depthwise->out_w;
    const mg_layout_t in = {0, depthwise->in_w, depthwise->in_h}, out = {y_step, depthwise->out_w, depthwise->out_h};
    mg_conv2d_t one = *conv;
    mg_weights_t at = *second;
    mg_depthwise_t d;
    one.out_c = 1;
    mg_depthwise_begin(&d, depthwise, &in, &out, depthwise->out_h, scratch);
    for (int32_t c = 0; c < conv->out_c; c++) {
        mg_conv2d_s8(&one, x, first->w + c * w_step, first->bias + c, first->scale + c, plane);
        for (int32_t m = 0; m < multiplier; m++, at.w += taps, at.bias++, at.scale++, y += y_step) {
            for (int32_t oy = 0; oy < depthwise->out_h; oy += d.tile_rows) {
                for (int32_t ox = 0; ox < depthwise->out_w; ox += d.tile_w) {
                    mg_depthwise_tile(&d, oy, depthwise->out_h, ox);
                    mg_depthwise_widen(&d, plane);
                    mg_depthwise_requantized(&d, &at, y);
                }
            }
        }
    }
}
