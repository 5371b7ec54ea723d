/* The gradient of a transposition. */
#include "error.inc"

void mg_permute_dgrad(const mg_permute_t *g, const void *e, mg_dtype_t e_type, int32_t plane, mg_store_t *s) {
    const int32_t row = g->shape[4], rows = g->shape[0] * g->shape[1] * g->shape[2] * g->shape[3];
    int32_t i = 0, c = 0, left = plane;
    for (int32_t r = 0; r < rows; r++) {
        int32_t from = mg_permuted(g, i);
        for (const int32_t end = i + row; i < end; i++, from += g->stride[4]) {
            mg_store(s, c, i, mg_load_error(e, e_type, from));
            if (--left == 0) {
                c++;
                left = plane;
            }
        }
    }
}
