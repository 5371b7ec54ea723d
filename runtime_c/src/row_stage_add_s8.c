/* The Add that ends a residual block, as the last stage of its row chain. */
#include "mg_internal.h"

static int32_t row_at(const mg_layout_t *l, int32_t row) { return row % l->rows * l->row; }

static void add_row(const mg_row_stage_t *s, int32_t row, int8_t *arena) {
    const mg_layout_t *a = &s->rows.x, *b = &s->other_rows, *y = &s->rows.y;
    const int8_t *pa = arena + s->x + row_at(a, row), *pb = arena + s->other + row_at(b, row);
    int8_t *py = arena + s->y + row_at(y, row);
    const int32_t width = s->rows.conv.out_w;
    int32_t channels = s->rows.conv.out_c, n = width;
    if (a->channel == width && b->channel == width && y->channel == width) {
        n *= channels; /* the row's channels lie one behind the other everywhere */
        channels = 1;
    }
    for (; channels > 0; channels--, pa += a->channel, pb += b->channel, py += y->channel) {
        mg_add_s8(&s->add, pa, pb, n, py);
    }
}

void mg_row_stage_add_s8(const mg_row_stage_t *s, int32_t row, int32_t count, int8_t *arena) {
    for (const int32_t end = row + count; row < end; row++) {
        add_row(s, row, arena);
    }
}
