/* The straight-through mask of an activation, packed. */
#include "mg_internal.h"

void mg_mask_bits(const int8_t *restrict y, int32_t n, int32_t min, int32_t max, uint8_t *restrict bits) {
    for (int32_t i = 0; i < n; i += 8) {
        const int32_t left = mg_min_i32(n - i, 8);
        uint32_t byte = 0;
        for (int32_t k = 0; k < left; k++) {
            byte |= (min < y[i + k] && y[i + k] < max ? 1u : 0u) << k;
        }
        bits[i >> 3] = (uint8_t)byte;
    }
}
