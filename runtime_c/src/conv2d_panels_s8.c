/* Dense convolution by panels, from OIHW weights, the last input channels of which may lie in pairs already. */
#include "mg_panel.h"

/* Two output channels times `count` panels, of which panel k holds n positions from first + 4 * k on; the last one ends
 * at `end`. y: the even channel's plane; the odd one lies pair->y_channel on unless `lone`. Changes pair. */
static void multiply_strip(mg_product_t *pair, const int16_t *panel, int32_t first, int32_t end, int32_t n, bool lone,
                           int8_t *y) {
    const int32_t whole = n < 4 || lone ? 0 : (end - first) / 4, y_channel = pair->y_channel;
    if (whole > 0) {
        mg_panel_product_s8(pair, panel, whole, y + first);
    }
    int8_t buffer[8]; /* by way of which the others go */
    pair->y_channel = 4;
    panel += whole * 8 * pair->taps;
    for (int32_t i = first + 4 * whole; i < end; i += 4, panel += 8 * pair->taps) {
        int8_t *const to = y + mg_min_i32(i, end - n);
        mg_panel_product_s8(pair, panel, 1, buffer);
        memcpy(to, buffer, (size_t)n);
        if (!lone) {
            memcpy(to + y_channel, buffer + 4, (size_t)n);
        }
    }
}

/* The k taps of two output channels in pairs: of channel oc, which is even, and of `other`. */
static void gather_pairs(const mg_split_weights_t *w, int32_t k, int32_t oc, int32_t other, int32_t window, int8_t *to) {
    const int32_t n = w->n * window, rest = (k - n + 1) / 2 * 2;
    mg_weight_pairs_s8(w->first + oc * n, w->first + other * n, n, to);
    if (rest > 0) {
        memcpy(to + 2 * n, w->pairs + oc * rest, (size_t)(2 * rest));
    }
}

MG_COLD
void mg_conv2d_panels_s8(const mg_conv2d_t *c, const int8_t *restrict x, const mg_split_weights_t *w,
                         const int32_t *restrict bias, const float *restrict scale, int32_t panels,
                         int16_t *restrict scratch, int8_t *restrict y) {
    const int32_t in_plane = c->in_h * c->in_w, plane = c->out_h * c->out_w, n = mg_min_i32(4, plane);
    const int32_t k = c->in_c * c->k_h * c->k_w, taps = (k + 1) / 2;
    const mg_conv2d_rows_t g = {*c, {in_plane, c->in_w, c->in_h}, {plane, c->out_w, c->out_h}};
    const bool flat = mg_is_pointwise(c) && n == 4;
    int8_t *const pairs = (int8_t *)(scratch + panels * 8 * taps);
    for (int32_t first = 0; first < plane; first += 4 * panels) {
        const int32_t end = mg_min_i32(plane, first + 4 * panels);
        int16_t *panel = scratch;
        for (int32_t i = first; i < end; i += 4, panel += 8 * taps) {
            const int32_t at = mg_min_i32(i, end - n); /* the last four may overlap those before them */
            if (flat) {
                mg_panel_pointwise_s8(x + at, c->in_c, in_plane, c->x_zero, panel);
            } else {
                mg_panel_im2col_s8(&g, at / c->out_w, at % c->out_w, n, x, panel);
            }
        }
        for (int32_t oc = 0; oc < c->out_c; oc += 2) {
            const bool lone = oc + 1 == c->out_c;
            const int32_t other = lone ? oc : oc + 1;
            const int32_t both_bias[2] = {bias[oc], bias[other]};
            const float both_scale[2] = {scale[oc], scale[other]};
            mg_product_t pair = {{pairs, both_bias, both_scale}, 1, taps, plane, c->y_zero, c->y_min, c->y_max};
            gather_pairs(w, k, oc, other, c->k_h * c->k_w, pairs);
            multiply_strip(&pair, scratch, first, end, n, lone, y + oc * plane);
        }
    }
}
