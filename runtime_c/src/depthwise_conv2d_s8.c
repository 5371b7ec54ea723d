/* Depthwise convolution: every output channel reads one input channel. */
#include "conv2d_s8.inc"

void mg_depthwise_conv2d_s8(const mg_conv2d_t *g, const int8_t *restrict x, const int8_t *restrict w,
                            const int32_t *restrict bias, const float *restrict scale, int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const mg_range_t whole = mg_whole_windows(g->pad_left, g->k_w, g->stride_w, g->dilation_w, g->in_w, g->out_w);
    const int32_t multiplier = g->out_c / g->in_c, in_plane = g->in_h * g->in_w, out_plane = g->out_h * g->out_w;
    for (int32_t oc = 0; oc < g->out_c; oc++, y += out_plane, w += g->k_h * g->k_w) {
        const uint32_t b = bias != NULL ? (uint32_t)bias[oc] : 0u;
        mg_conv2d_channel(g, &grid, 1, x + oc / multiplier * in_plane, w, b, scale[oc], whole, y);
    }
}
