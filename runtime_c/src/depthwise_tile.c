/* The tiles of a depthwise convolution; see mg_depthwise.h. */
#include "mg_depthwise.h"

static int32_t span_h(const mg_conv2d_t *g) { return (g->k_h - 1) * g->dilation_h + 1; }
static int32_t span_w(const mg_conv2d_t *g) { return (g->k_w - 1) * g->dilation_w + 1; }
static int32_t plane_rows(const mg_conv2d_t *g, int32_t rows) { return (rows - 1) * g->stride_h + span_h(g); }

/* k_w + stride_w - 1 of a window that assembly knows, else 0. */
static int32_t square_window(const mg_conv2d_t *g) {
    const bool known = g->k_h == g->k_w && g->k_w >= 3 && (g->k_w & 1) != 0 && g->stride_w <= 2 && g->dilation_h == 1 &&
                       g->dilation_w == 1;
    return known ? g->k_w + g->stride_w - 1 : 0;
}

MG_COLD
void mg_depthwise_begin(mg_depthwise_t *d, const mg_conv2d_t *g, const mg_layout_t *x, const mg_layout_t *y,
                        int32_t count, int16_t *scratch) {
    const int32_t square = square_window(g);
    const bool wide = (square == 3 || square == 4) && g->out_w > ((MG_PLANE_PITCH - 3) / g->stride_w + 1) / 4 * 4;
    const int32_t window = square - (wide ? 2 : 0);
    const bool fits = square != 4 || (g->in_w >= 3 && g->pad_left <= 3);
    const bool known = window != 0 && fits && mg_depthwise_knows(window);
    /* a window of four outputs fits, to an even column */
    const int32_t least = wide ? MG_WIDE_PITCH : MG_PLANE_PITCH;
    const int32_t pitch = mg_max_i32(least, (3 * g->stride_w + span_w(g) + 1) & ~1);
    const int32_t fitting = ((pitch - span_w(g)) / g->stride_w + 1) & ~3;
    const int32_t rows = (MG_PLANE_ELEMENTS / pitch - span_h(g)) / g->stride_h + 1;
    d->g = g, d->x = x, d->y = y;
    d->tile_w = mg_min_i32(fitting, (g->out_w + 3) & ~3);
    d->tile_rows = mg_min_i32(mg_max_i32(rows, 1), count);
    d->sum_rows = mg_min_i32(mg_max_i32(MG_SUM_ELEMENTS / d->tile_w, 1), d->tile_rows);
    d->plane = scratch;
    d->sums = (int32_t *)(void *)(scratch + plane_rows(g, d->tile_rows) * pitch);
    d->rows = 0;
    d->widen = (mg_widen_t){.pitch = pitch, .x_row = x->row, .zero = g->x_zero, .groups = known && square == 4 ? 3 : 0};
    d->taps = (mg_depthwise_taps_t){.pitch = pitch, .row_step = g->stride_h * pitch, .k_h = g->k_h, .k_w = g->k_w};
    d->taps.stride_w = g->stride_w, d->taps.dilation_h = g->dilation_h, d->taps.dilation_w = g->dilation_w;
    d->taps.square = known ? window : 0;
    if (y != NULL) {
        d->quantize = (mg_requantize_sums_t){.y_row = y->row, .zero = g->y_zero, .min = g->y_min, .max = g->y_max};
    }
}

/* The inside positions [begin, end) of `size` cells that begin at input position `first`. */
static mg_range_t inside(int32_t first, int32_t cells, int32_t size) {
    const int32_t begin = mg_max_i32(0, -first), end = mg_min_i32(cells, size - first);
    return (mg_range_t){begin, mg_max_i32(begin, end)};
}

void mg_depthwise_tile(mg_depthwise_t *d, int32_t oy, int32_t end, int32_t ox) {
    const mg_conv2d_t *g = d->g;
    if (d->rows > 0 && d->oy == oy && d->ox == ox) {
        return; /* only the inside changes from channel to channel */
    }
    d->oy = oy, d->ox = ox;
    d->rows = mg_min_i32(d->tile_rows, end - oy);
    d->columns = mg_min_i32(d->tile_w, g->out_w - ox);
    d->taps.quads = (d->columns + 3) >> 2;
    const int32_t pitch = d->taps.pitch, groups = d->widen.groups;
    const int32_t top = oy * g->stride_h - g->pad_top, left = ox * g->stride_w - g->pad_left - groups;
    const int32_t rows = plane_rows(g, d->rows);
    const mg_range_t y = inside(top, rows, g->in_h), x = inside(left, pitch, g->in_w);
    d->iy = top + y.begin, d->ix = left + x.begin;
    d->inside_rows = x.end > x.begin ? y.end - y.begin : 0;
    d->inside = d->plane + (y.begin * pitch + (x.begin & ~groups));
    d->widen.group_column = x.begin & groups;
    d->widen.columns = x.end - x.begin;
    memset(d->plane, 0, (size_t)(rows * pitch) * sizeof *d->plane);

    const int32_t x_slot = d->iy % d->x->rows;
    d->x_at = x_slot * d->x->row + d->ix;
    d->widen.rows = mg_min_i32(d->inside_rows, d->x->rows - x_slot);
    if (d->y != NULL) {
        const int32_t y_slot = oy % d->y->rows;
        d->y_at = y_slot * d->y->row + ox;
        mg_depthwise_rows(d, mg_min_i32(d->rows, d->y->rows - y_slot));
    }
}
