/* A change of grid: Requantize, Relu, Clip, LeakyRelu, a Concat operand, the inside of Pad. */
#include "mg_internal.h"

void mg_requantize_s8(const mg_requantize_t *g, const mg_box_t *box, const int8_t *x, int8_t *y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const float scale = g->scale, alpha = g->alpha;
    const int32_t zero = g->x_zero, inner = box->inner;
    for (int32_t o = 0; o < box->outer; o++) {
        for (int32_t r = 0; r < box->rows; r++) {
            const int8_t *from = x + (o * box->src_stride_o + r * box->src_stride_r);
            int8_t *to = y + (o * box->dst_stride_o + r * box->dst_stride_r);
            for (int32_t i = 0; i < inner; i++) {
                int32_t centred = from[i] - zero;
                float v = (float)centred * scale;
                to[i] = mg_to_grid(&grid, centred < 0 ? v * alpha : v);
            }
        }
    }
}
