/* Gemm and MatMul: a convolution of one position. */
#include "mg_internal.h"

void mg_fully_connected_s8(const mg_conv2d_t *g, const int8_t *restrict x, const int8_t *restrict w,
                           const int32_t *restrict bias, const float *restrict scale, int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const int32_t n = g->in_c, zero = g->x_zero;
    for (int32_t oc = 0; oc < g->out_c; oc += 4) {
        /* past the last channel the last row is read again, and its result dropped */
        const int32_t rows = mg_min_i32(4, g->out_c - oc);
        const int8_t *w0 = w + oc * n;
        const int8_t *w1 = rows > 1 ? w0 + n : w0, *w2 = rows > 2 ? w1 + n : w1, *w3 = rows > 3 ? w2 + n : w2;
        int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
        for (int32_t i = 0; i < n; i++) {
            const int32_t v = x[i] - zero;
            a0 += v * w0[i];
            a1 += v * w1[i];
            a2 += v * w2[i];
            a3 += v * w3[i];
        }
        const int32_t acc[4] = {a0, a1, a2, a3};
        for (int32_t k = 0; k < rows; k++) {
            const uint32_t b = bias != NULL ? (uint32_t)bias[oc + k] : 0u;
            y[oc + k] = mg_to_grid(&grid, (float)(int32_t)((uint32_t)acc[k] + b) * scale[oc + k]);
        }
    }
}
