/* Two rows of OIHW weights in pairs. */
#include "mg_panel.h"

#if !MG_ARMV7EM

void mg_weight_pairs_s8(const int8_t *even, const int8_t *odd, int32_t n, int8_t *restrict to) {
    for (int32_t k = 0; k < n; k++) {
        to[2 * k] = even[k], to[2 * k + 1] = odd[k];
    }
    if (n % 2 != 0) {
        to[2 * n] = to[2 * n + 1] = 0;
    }
}

#endif
