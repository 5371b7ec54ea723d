/* A dense convolution by strips as a stage of a row chain. */
#include "mg_internal.h"

void mg_row_stage_strips_s8(const mg_row_stage_t *s, int32_t row, int32_t count, int8_t *arena) {
    mg_conv2d_strips_s8(&s->rows, row, count, arena + s->x, &s->weights, s->panels, (int16_t *)(void *)(arena + s->scratch),
                        arena + s->y);
}
