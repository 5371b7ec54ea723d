/* The mean of each channel. */
#include "mg_wgrad.h"

MG_COLD
void mg_global_avg_pool2d_s8(const mg_pool2d_t *g, float scale, const int8_t *restrict x, int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const int32_t plane = g->in_h * g->in_w;
    const float part = scale / (float)plane;
    for (int32_t c = 0; c < g->c; c++, x += plane) {
        y[c] = mg_to_grid(&grid, (float)(mg_sum_s8(x, plane) - g->x_zero * plane) * part);
    }
}
