/* Convolution, dense or grouped. */
#include "conv2d_s8.inc"

/* One output channel of a pointwise convolution: every position is a dot product along the channels. */
MG_HOT void pointwise_four(const int8_t *x, int32_t plane, const int8_t *w, int32_t channels, int32_t acc[4]) {
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t n = channels; n > 0; n--, x += plane) {
        const int32_t k = *w++;
        a0 += x[0] * k;
        a1 += x[1] * k;
        a2 += x[2] * k;
        a3 += x[3] * k;
    }
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3;
}

static void pointwise_channel(const mg_grid_t *grid, int32_t zero, int32_t channels, int32_t plane, const int8_t *x,
                              const int8_t *w, uint32_t bias, float scale, int8_t *y) {
    int32_t sum = 0, acc[4];
    for (int32_t ic = 0; ic < channels; ic++) {
        sum += w[ic];
    }
    const uint32_t offset = bias - (uint32_t)(sum * zero);
    for (int32_t i = 0; plane >= 4 && i < plane; i += 4) {
        i = mg_min_i32(i, plane - 4); /* the last four may overlap those before them */
        pointwise_four(x + i, plane, w, channels, acc);
        mg_requantize_four(grid, acc, offset, scale, y + i);
    }
    for (int32_t i = 0; plane < 4 && i < plane; i++) {
        acc[0] = 0;
        for (int32_t ic = 0; ic < channels; ic++) {
            acc[0] += x[ic * plane + i] * w[ic];
        }
        y[i] = mg_requantize_acc(grid, acc[0], offset, scale);
    }
}

MG_COLD
void mg_conv2d_s8(const mg_conv2d_t *g, const int8_t *restrict x, const int8_t *restrict w, const int32_t *restrict bias,
                  const float *restrict scale, int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const mg_range_t whole = mg_whole_windows(g->pad_left, g->k_w, g->stride_w, g->dilation_w, g->in_w, g->out_w);
    const int32_t channels = g->in_c / g->groups, per_group = g->out_c / g->groups;
    const int32_t plane = g->in_h * g->in_w;
    const bool pointwise = mg_is_pointwise(g);
    for (int32_t oc = 0; oc < g->out_c; oc++, y += g->out_h * g->out_w, w += channels * g->k_h * g->k_w) {
        const uint32_t b = bias != NULL ? (uint32_t)bias[oc] : 0u;
        const int8_t *from = x + oc / per_group * channels * plane;
        if (pointwise) {
            pointwise_channel(&grid, g->x_zero, channels, plane, from, w, b, scale[oc], y);
        } else {
            mg_conv2d_channel(g, &grid, channels, from, w, b, scale[oc], whole, y);
        }
    }
}
