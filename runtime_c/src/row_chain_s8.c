/* Layers run row by row: each makes its next rows as soon as those under their windows are there, and of the tensor between two
 * layers only a ring of rows exists. */
#include "mg_internal.h"

/* How many rows it makes in its next turn. */
static int32_t rows_of_turn(const mg_row_stage_t *s, int32_t made) {
    return mg_min_i32(s->turn, s->rows.conv.out_h - made);
}

/* Rows of its input that a stage must see before its next turn. */
static int32_t rows_needed(const mg_row_stage_t *s, int32_t made) {
    const mg_conv2d_t *g = &s->rows.conv;
    const int32_t last = made + rows_of_turn(s, made) - 1;
    return mg_min_i32(last * g->stride_h - g->pad_top + (g->k_h - 1) * g->dilation_h + 1, g->in_h);
}

void mg_row_chain_advance_s8(const mg_row_stage_t *stages, int32_t n, int8_t *arena, int32_t *made, int32_t available) {
    const mg_row_stage_t *const end = stages + n - 1;
    while (made[n - 1] < end->rows.conv.out_h) {
        const mg_row_stage_t *s = end;
        int32_t i = n - 1;
        /* the last stage that can run: those before it would only fill rings further */
        while (rows_needed(s, made[i]) > (i > 0 ? made[i - 1] : available)) {
            if (i == 0) {
                return;
            }
            i--;
            s--;
        }
        const int32_t count = rows_of_turn(s, made[i]);
        s->run(s, made[i], count, arena);
        made[i] += count;
    }
}

void mg_row_chain_s8(const mg_row_stage_t *stages, int32_t n, int8_t *arena, int32_t *made) {
    memset(made, 0, (size_t)n * sizeof *made);
    mg_row_chain_advance_s8(stages, n, arena, made, stages->rows.conv.in_h);
}
