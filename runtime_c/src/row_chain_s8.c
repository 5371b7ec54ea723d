/* Layers run row by row: each makes a row as soon as the rows under its window are there, and of the tensor between two
 * layers only a ring of rows exists. */
#include "mg_internal.h"

/* Rows of its input that a stage must see before it can make `row`. */
static int32_t rows_needed(const mg_conv2d_t *g, int32_t row) {
    return mg_min_i32(row * g->stride_h - g->pad_top + (g->k_h - 1) * g->dilation_h + 1, g->in_h);
}

void mg_row_chain_advance_s8(const mg_row_stage_t *stages, int32_t n, int8_t *arena, int32_t *made, int32_t available) {
    const mg_row_stage_t *const end = stages + n - 1;
    while (made[n - 1] < end->rows.conv.out_h) {
        const mg_row_stage_t *s = end;
        int32_t i = n - 1;
        /* the last stage that can run: those before it would only fill rings further */
        while (rows_needed(&s->rows.conv, made[i]) > (i > 0 ? made[i - 1] : available)) {
            if (i == 0) {
                return;
            }
            i--;
            s--;
        }
        s->run(s, made[i], arena);
        made[i]++;
    }
}

void mg_row_chain_s8(const mg_row_stage_t *stages, int32_t n, int8_t *arena, int32_t *made) {
    memset(made, 0, (size_t)n * sizeof *made);
    mg_row_chain_advance_s8(stages, n, arena, made, stages->rows.conv.in_h);
}
