/* One error tensor into another: masks, channel scales, sums, a change of type. */
#include "error.inc"

void mg_error_map(const void *e, mg_dtype_t e_type, int32_t channels, int32_t plane, mg_store_t *s) {
    for (int32_t c = 0; c < channels; c++) {
        const int32_t end = (c + 1) * plane;
        for (int32_t i = c * plane; i < end; i += MG_BLOCK) {
            float acc[MG_BLOCK];
            const int32_t n = mg_min_i32(MG_BLOCK, end - i);
            mg_load_errors(e, e_type, i, n, acc); /* read before the block is stored: out may be e */
            mg_store_row(s, c, i, 1, acc, n);
        }
    }
}
