/* The gradient of Concat and Pad: a box out of an error tensor. */
#include "error.inc"

void mg_slice_dgrad(const mg_box_t *box, const void *e, mg_dtype_t e_type, int32_t plane, mg_store_t *s) {
    for (int32_t o = 0; o < box->outer; o++) {
        for (int32_t r = 0; r < box->rows; r++) {
            const int32_t from = o * box->src_stride_o + r * box->src_stride_r;
            const int32_t to = o * box->dst_stride_o + r * box->dst_stride_r;
            int32_t c = to / plane, left = (c + 1) * plane - to; /* elements of channel c that are still to come */
            for (int32_t i = 0; i < box->inner;) {
                float acc[MG_BLOCK];
                const int32_t n = mg_min_i32(mg_min_i32(MG_BLOCK, left), box->inner - i);
                mg_load_errors(e, e_type, from + i, n, acc);
                mg_store_row(s, c, to + i, 1, acc, n);
                i += n;
                left -= n;
                if (left == 0) {
                    c++;
                    left = plane;
                }
            }
        }
    }
}
