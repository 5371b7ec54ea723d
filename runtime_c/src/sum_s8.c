/* The sum of a row of errors. */
#include "mg_wgrad.h"

#if !MG_ARMV7EM

int32_t mg_sum_s8(const int8_t *e, int32_t n) {
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += e[i];
    }
    return sum;
}

#endif
