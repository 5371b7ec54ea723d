/* int32 sums onto an int8 grid, with one scale. */
#include "mg_depthwise.h"

#if !MG_ARMV7EM
void mg_requantize_sums(const mg_requantize_sums_t *t, const int32_t *restrict sums, const float *scale,
                        int8_t *restrict y) {
    const mg_grid_t grid = mg_grid(t->zero, t->min, t->max);
    for (int32_t r = 0; r < t->rows; r++, sums += (t->columns + 3) & ~3, y += t->y_row) {
        for (int32_t i = 0; i < t->columns; i++) {
            y[i] = mg_to_grid(&grid, (float)sums[i] * *scale);
        }
    }
}
#endif
