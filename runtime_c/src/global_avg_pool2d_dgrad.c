/* The gradient of the mean of each channel: all its positions get the same. */
#include "error.inc"

/* Small planes share the epilogue's set-up. */
enum { AT_ONCE = 64 };

MG_COLD
void mg_global_avg_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, mg_store_t *s) {
    const int32_t plane = g->in_h * g->in_w, n = mg_min_i32(plane, AT_ONCE), most = AT_ONCE / n;
    const float share = 1.0f / (float)plane;
    float acc[AT_ONCE];
    for (int32_t c = 0; c < g->c; c += most) {
        const int32_t channels = mg_min_i32(most, g->c - c);
        float *to = acc;
        for (int32_t k = 0; k < channels; k++) {
            const float part = 0.0f + mg_load_error(e, e_type, c + k) * share; /* as a sum: never -0 */
            for (int32_t i = 0; i < n; i++) {
                *to++ = part;
            }
        }
        for (int32_t i = 0; i < plane; i += n) {
            mg_store_rows(s, c, c * plane + i, acc, mg_min_i32(n, plane - i), channels);
        }
    }
}
