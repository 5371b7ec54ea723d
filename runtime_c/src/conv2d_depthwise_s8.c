/* A convolution and the depthwise convolution that follows it, a channel at a time: the tensor between them, the widest of
 * an inverted bottleneck, never exists. */
#include "mg_internal.h"

void mg_conv2d_depthwise_s8(const mg_conv2d_t *conv, const mg_conv2d_t *depthwise, const int8_t *restrict x,
                            const mg_weights_t *first, const mg_weights_t *second, int8_t *restrict plane,
                            int8_t *restrict y) {
    mg_conv2d_t one = *conv, alone = *depthwise;
    const int32_t multiplier = depthwise->out_c / depthwise->in_c;
    const int32_t w_step = conv->in_c * conv->k_h * conv->k_w;
    const int32_t d_step = multiplier * depthwise->k_h * depthwise->k_w;
    const int32_t y_step = multiplier * depthwise->out_h * depthwise->out_w;
    one.out_c = 1;
    alone.in_c = alone.groups = 1;
    alone.out_c = multiplier;
    for (int32_t c = 0; c < conv->out_c; c++, y += y_step) {
        mg_conv2d_s8(&one, x, first->w + c * w_step, first->bias + c, first->scale + c, plane);
        mg_depthwise_conv2d_s8(&alone, plane, second->w + c * d_step, second->bias + c * multiplier,
                               second->scale + c * multiplier, y);
    }
}
