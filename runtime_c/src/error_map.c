/* One error tensor into another: masks, channel scales, sums, a change of type. */
#include "error.inc"

/* Read before it is stored: out may be e. */
enum { AT_ONCE = 64 };

MG_COLD
void mg_error_map(const void *e, mg_dtype_t e_type, int32_t channels, int32_t plane, mg_store_t *s) {
    const int32_t n = mg_min_i32(plane, AT_ONCE), most = AT_ONCE / n;
    float acc[AT_ONCE];
    for (int32_t c = 0; c < channels; c += plane > n ? 1 : most) {
        const int32_t rows = plane > n ? 1 : mg_min_i32(most, channels - c), end = (c + 1) * plane;
        for (int32_t i = c * plane; i < end; i += n) {
            const int32_t length = mg_min_i32(n, end - i);
            mg_load_errors(e, e_type, i, rows * length, acc);
            mg_store_rows(s, c, i, acc, length, rows);
        }
    }
}
