/* Panels of windows beside each other that lie inside the input. */
#include "mg_panel.h"

#if !MG_ARMV7EM

void mg_panel_taps_s8(const mg_taps_t *t, mg_line_t *lines, int16_t *restrict panel) {
    int32_t k = 0;
    for (int32_t row = 0; row < t->channels * t->rows; row++) {
        mg_line_t *line = lines + row % t->rows;
        for (int32_t column = 0; column < t->columns; column++, k++) {
            for (int32_t position = 0; position < 4; position++) {
                const int32_t value = line->x[position * t->stride + column] - t->zero;
                panel[(k >> 1) * 8 + position * 2 + (k & 1)] = (int16_t)value;
            }
        }
        line->x += line->step;
    }
    for (int32_t position = 0; k % 2 != 0 && position < 4; position++) {
        panel[(k >> 1) * 8 + position * 2 + 1] = 0;
    }
}

#endif
