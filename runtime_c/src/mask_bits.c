/* The straight-through mask of an activation, packed. */
#include "mg_internal.h"

#if MG_ARMV7EM
/* 8 * blocks elements; of bytes, four times each: the smallest and the largest of those that are true. */
void mg_mask_blocks_armv7em(const int8_t *y, int32_t blocks, uint32_t above, uint32_t below, uint8_t *bits);
#endif

MG_COLD
void mg_mask_bits(const int8_t *restrict y, int32_t n, int32_t min, int32_t max, uint8_t *restrict bits) {
    int32_t i = 0;
#if MG_ARMV7EM
    if (n >= 8 && min >= -128 && min <= 126 && max >= -127 && max <= 127) {
        const uint32_t above = (uint32_t)(uint8_t)(min + 1) * 0x01010101u;
        mg_mask_blocks_armv7em(y, n >> 3, above, (uint32_t)(uint8_t)(max - 1) * 0x01010101u, bits);
        i = n & ~7;
    }
#endif
    for (; i < n; i += 8) {
        const int32_t left = mg_min_i32(n - i, 8);
        uint32_t byte = 0;
        for (int32_t k = 0; k < left; k++) {
            byte |= (min < y[i + k] && y[i + k] < max ? 1u : 0u) << k;
        }
        bits[i >> 3] = (uint8_t)byte;
    }
}
