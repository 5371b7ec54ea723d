/* Residual addition. */
#include "mg_internal.h"

void mg_add_s8(const mg_add_t *g, const int8_t *a, const int8_t *b, int32_t n, int8_t *y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const float a_scale = g->a_scale, b_scale = g->b_scale;
    const int32_t a_zero = g->a_zero, b_zero = g->b_zero;
    for (int32_t i = 0; i < n; i++) {
        float left = (float)(a[i] - a_zero) * a_scale, right = (float)(b[i] - b_zero) * b_scale;
        y[i] = mg_to_grid(&grid, left + right);
    }
}
