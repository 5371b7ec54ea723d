/* Bytes to int16, less a zero point. */
#include "mg_depthwise.h"

#if !MG_ARMV7EM
void mg_widen_rows(const mg_widen_t *t, const int8_t *restrict x, int16_t *restrict plane) {
    for (int32_t r = 0; r < t->rows; r++, x += t->x_row, plane += t->pitch) {
        for (int32_t i = 0; i < t->columns; i++) {
            plane[i] = (int16_t)(x[i] - t->zero);
        }
    }
}
#endif
