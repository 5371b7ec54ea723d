/* Residual addition. */
#include "mg_internal.h"

#if MG_ARMV7EM
/* What the assembly needs; it knows the offsets. */
typedef struct {
    float a_scale, b_scale;
    int32_t a_zero, b_zero; /* negative */
    uint32_t y_zero;        /* + 128, in both halves */
    uint32_t low, high;     /* y_min + 128 and 127 - y_max in each byte */
} add_blocks_t;

/* 4 * blocks elements. */
void mg_add_blocks_armv7em(const add_blocks_t *g, const int8_t *a, const int8_t *b, int32_t blocks, int8_t *y);
#endif

void mg_add_s8(const mg_add_t *g, const int8_t *a, const int8_t *b, int32_t n, int8_t *y) {
    const mg_grid_t grid = mg_grid(g->y_zero, g->y_min, g->y_max);
    const float a_scale = g->a_scale, b_scale = g->b_scale;
    const int32_t a_zero = g->a_zero, b_zero = g->b_zero;
    int32_t i = 0;
#if MG_ARMV7EM
    if (n >= 4) {
        const uint32_t ones = 0x01010101u, zero = (uint32_t)(g->y_zero + 128);
        const add_blocks_t blocks = {a_scale, b_scale, -a_zero, -b_zero, zero << 16 | zero,
                                     (uint32_t)(g->y_min + 128) * ones, (uint32_t)(127 - g->y_max) * ones};
        mg_add_blocks_armv7em(&blocks, a, b, n >> 2, y);
        i = n & ~3;
    }
#endif
    for (; i < n; i++) {
        float left = (float)(a[i] - a_zero) * a_scale, right = (float)(b[i] - b_zero) * b_scale;
        y[i] = mg_to_grid(&grid, left + right);
    }
}
