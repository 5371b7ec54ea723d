/* The channels of a tensor from planes (CHW) to rows of all channels (HCW), in place. */
#include "mg_internal.h"

/* Row r of channel c is block c * height + r and goes to block r * channels + c. A cycle of this permutation is walked
 * once: `moved` has a bit a block. */
void mg_planes_to_rows_s8(int8_t *x, int32_t channels, int32_t height, int32_t width, int8_t *scratch) {
    const int32_t blocks = channels * height;
    const size_t size = (size_t)width;
    uint8_t *const moved = (uint8_t *)scratch + 2 * width;
    memset(moved, 0, (size_t)((blocks + 7) / 8));
    for (int32_t start = 0; start < blocks; start++) {
        int8_t *held = scratch, *next = scratch + width;
        if ((moved[start >> 3] >> (start & 7)) & 1) {
            continue;
        }
        memcpy(held, x + start * width, size);
        for (int32_t block = start; !((moved[block >> 3] >> (block & 7)) & 1);) {
            const int32_t to = block % height * channels + block / height;
            moved[block >> 3] = (uint8_t)(moved[block >> 3] | 1 << (block & 7));
            memcpy(next, x + to * width, size);
            memcpy(x + to * width, held, size);
            int8_t *const other = held;
            held = next;
            next = other;
            block = to;
        }
    }
}
