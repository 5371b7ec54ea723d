/* Panels of rows. */
#include "mg_wgrad.h"

#if !MG_ARMV7EM

void mg_rows_panel_s8(const int8_t *const rows[4], int32_t n, int32_t zero, int16_t *restrict panel) {
    for (int32_t i = 0; i < n; i += 4, panel += 16) {
        for (int32_t k = 0; k < 16; k++) { /* place k / 8 * 2 + k % 2 of row k / 2 % 4 */
            const int32_t position = i + mg_group_order(k / 8 * 2 + k % 2);
            panel[k] = (int16_t)((position < n ? rows[k / 2 % 4][position] : 0) - zero);
        }
    }
}

#endif
