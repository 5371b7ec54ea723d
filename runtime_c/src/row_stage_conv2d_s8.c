/* A dense convolution as a stage of a row chain. */
#include "mg_internal.h"

void mg_row_stage_conv2d_s8(const mg_row_stage_t *s, int32_t row, int32_t count, int8_t *arena) {
    mg_conv2d_rows_s8(&s->rows, row, count, arena + s->x, &s->weights, (int16_t *)(void *)(arena + s->scratch),
                      arena + s->y);
}
