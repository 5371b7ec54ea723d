/* The gradient of a transposition. */
#include "error.inc"

void mg_permute_dgrad(const mg_permute_t *g, const void *e, mg_dtype_t e_type, int32_t plane, mg_store_t *s) {
    int32_t i = 0, c = 0, left = plane;
    for (int32_t i0 = 0; i0 < g->shape[0]; i0++) {
        for (int32_t i1 = 0; i1 < g->shape[1]; i1++) {
            for (int32_t i2 = 0; i2 < g->shape[2]; i2++) {
                int32_t from = i0 * g->stride[0] + i1 * g->stride[1] + i2 * g->stride[2];
                for (int32_t i3 = 0; i3 < g->shape[3]; i3++, from += g->stride[3], i++) {
                    mg_store(s, c, i, mg_load_error(e, e_type, from));
                    if (--left == 0) {
                        c++;
                        left = plane;
                    }
                }
            }
        }
    }
}
