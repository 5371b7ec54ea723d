/* The gradient of LeakyRelu. */
#include "error.inc"

void mg_leaky_relu_dgrad(const void *e, mg_dtype_t e_type, const int8_t *x, int32_t x_zero, float alpha, int32_t channels,
                         int32_t plane, mg_store_t *s) {
    for (int32_t c = 0; c < channels; c++) {
        const int32_t end = (c + 1) * plane;
        for (int32_t i = c * plane; i < end; i += MG_BLOCK) {
            float acc[MG_BLOCK];
            const int32_t n = mg_min_i32(MG_BLOCK, end - i);
            mg_load_errors(e, e_type, i, n, acc);
            for (int32_t k = 0; k < n; k++) {
                acc[k] = acc[k] * (x[i + k] < x_zero ? alpha : 1.0f);
            }
            mg_store_row(s, c, i, 1, acc, n);
        }
    }
}
