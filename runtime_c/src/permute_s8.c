/* A transposition that no pass could absorb. */
#include "mg_internal.h"

void mg_permute_s8(const mg_permute_t *g, const int8_t *restrict x, int8_t *restrict y) {
    const int32_t row = g->shape[4], rows = g->shape[0] * g->shape[1] * g->shape[2] * g->shape[3];
    for (int32_t r = 0; r < rows; r++) {
        int32_t from = mg_permuted(g, r * row);
        for (int32_t i = 0; i < row; i++, from += g->stride[4]) {
            *y++ = x[from];
        }
    }
}
