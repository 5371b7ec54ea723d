/* A transposition that no pass could absorb. */
#include "mg_internal.h"

void mg_permute_s8(const mg_permute_t *g, const int8_t *restrict x, int8_t *restrict y) {
    for (int32_t i0 = 0; i0 < g->shape[0]; i0++) {
        for (int32_t i1 = 0; i1 < g->shape[1]; i1++) {
            for (int32_t i2 = 0; i2 < g->shape[2]; i2++) {
                int32_t from = i0 * g->stride[0] + i1 * g->stride[1] + i2 * g->stride[2];
                for (int32_t i3 = 0; i3 < g->shape[3]; i3++, from += g->stride[3]) {
                    *y++ = x[from];
                }
            }
        }
    }
}
