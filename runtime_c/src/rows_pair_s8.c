/* Two rows of errors, side by side. */
#include "mg_wgrad.h"

#if !MG_ARMV7EM

void mg_rows_pair_s8(const int8_t *first, const int8_t *second, int32_t n, int16_t *restrict to) {
    for (int32_t i = 0; i < n; i += 4, to += 8) {
        for (int32_t place = 0; place < 4; place++) {
            const int32_t position = i + mg_group_order(place);
            int16_t *const at = to + place / 2 * 4 + place % 2;
            at[0] = position < n ? first[position] : 0;
            at[2] = position < n ? second[position] : 0;
        }
    }
}

#endif
