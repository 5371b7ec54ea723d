/* Convolution, dense or grouped. */
#include "conv2d_s8.inc"

/* One output channel of a pointwise convolution: every position is a dot product along the channels. */
static void pointwise_channel(const mg_conv2d_t *g, const mg_grid_t *grid, int32_t channels, const int8_t *restrict x,
                              const int8_t *restrict w, uint32_t bias, float scale, int8_t *restrict y) {
    const int32_t plane = g->in_w, zero = g->x_zero;
    int32_t sum = 0, i = 0;
    for (int32_t ic = 0; ic < channels; ic++) {
        sum += w[ic];
    }
    const uint32_t offset = bias - (uint32_t)(sum * zero);
    for (; i + 4 <= plane; i += 4) {
        const int8_t *at = x + i;
        int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
        for (const int8_t *tap = w, *end = w + channels; tap != end; at += plane) {
            const int32_t v = *tap++;
            a0 += at[0] * v;
            a1 += at[1] * v;
            a2 += at[2] * v;
            a3 += at[3] * v;
        }
        y[i] = mg_requantize_acc(grid, a0, offset, scale);
        y[i + 1] = mg_requantize_acc(grid, a1, offset, scale);
        y[i + 2] = mg_requantize_acc(grid, a2, offset, scale);
        y[i + 3] = mg_requantize_acc(grid, a3, offset, scale);
    }
    for (; i < plane; i++) {
        int32_t acc = 0;
        for (int32_t ic = 0; ic < channels; ic++) {
            acc += x[ic * plane + i] * w[ic];
        }
        y[i] = mg_requantize_acc(grid, acc, offset, scale);
    }
}

void mg_conv2d_s8(const mg_conv2d_t *g, const int8_t *restrict x, const int8_t *restrict w, const int32_t *restrict bias,
                  const float *restrict scale, int8_t *restrict y) {
    const mg_conv2d_t flat = mg_conv2d_rows(g);
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const mg_range_t whole =
        mg_whole_windows(g->pad_left, g->k_w, g->stride_w, g->dilation_w, g->in_w, g->out_w);
    const int32_t channels = g->in_c / g->groups, per_group = g->out_c / g->groups;
    const int32_t out_plane = g->out_h * g->out_w, group = channels * g->in_h * g->in_w;
    const bool pointwise = flat.k_h == 1 && flat.k_w == 1 && flat.in_h == 1 && flat.in_w == flat.out_w &&
                           flat.stride_w == 1 && flat.pad_left == 0;
    for (int32_t oc = 0; oc < g->out_c; oc++, y += out_plane, w += channels * g->k_h * g->k_w) {
        const uint32_t b = bias != NULL ? (uint32_t)bias[oc] : 0u;
        const int8_t *from = x + oc / per_group * group;
        if (pointwise) {
            pointwise_channel(&flat, &grid, channels, from, w, b, scale[oc], y);
        } else {
            mg_conv2d_channel(g, &grid, channels, from, w, b, scale[oc], whole, y);
        }
    }
}
