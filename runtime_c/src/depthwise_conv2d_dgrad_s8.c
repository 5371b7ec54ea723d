/* The gradient of a depthwise convolution by its input, for int8 errors: a depthwise convolution of the error with the
 * kernel turned around, one output apart; where the forward's stride is s, s - 1 zeros lie between two errors. */
#include "depthwise_widen.inc"
#include "error.inc"

static mg_conv2d_t transposed(const mg_conv2d_t *g) {
    mg_conv2d_t t = *g;
    t.in_h = (g->out_h - 1) * g->stride_h + 1, t.in_w = (g->out_w - 1) * g->stride_w + 1;
    t.out_h = g->in_h, t.out_w = g->in_w;
    t.stride_h = t.stride_w = 1;
    t.pad_top = (g->k_h - 1) * g->dilation_h - g->pad_top, t.pad_left = (g->k_w - 1) * g->dilation_w - g->pad_left;
    t.x_zero = 0;
    return t;
}

/* The plane of one channel of errors that lie `stride` apart. */
static void widen_apart(const mg_depthwise_t *d, const mg_conv2d_t *g, const int8_t *e) {
    const int32_t s_h = g->stride_h, s_w = g->stride_w, pitch = d->taps.pitch;
    const int32_t first_y = (d->iy + s_h - 1) / s_h, first_x = (d->ix + s_w - 1) / s_w;
    const int32_t columns = d->widen.columns - (first_x * s_w - d->ix);
    int16_t *row = d->inside + ((first_y * s_h - d->iy) * pitch + (first_x * s_w - d->ix));
    const int8_t *from = e + (first_y * g->out_w + first_x);
    for (int32_t y = first_y * s_h - d->iy; y < d->inside_rows; y += s_h, row += s_h * pitch, from += g->out_w) {
        const int8_t *value = from;
        for (int32_t x = 0; x < columns; x += s_w) {
            row[x] = *value++;
        }
    }
}

/* The sums of the present tile, some rows at a time, to the epilogue; `first`: the channel's first element. */
static void store_sums(mg_depthwise_t *d, const int8_t *turned, int32_t c, int32_t first, mg_store_t *s) {
    const int32_t width = d->g->out_w;
    const int16_t *plane = d->plane;
    const float *acc = (const float *)(const void *)d->sums;
    for (int32_t row = d->oy, end = d->oy + d->rows; row < end;) {
        const int32_t n = mg_min_i32(end - row, d->sum_rows);
        d->taps.rows = n;
        mg_depthwise_sums(&d->taps, plane, turned, d->sums);
        mg_sums_to_float(d->sums, n, d->columns);
        if (d->columns == width) { /* then the rows are one */
            mg_store_rows(s, c, first + row * width, acc, n * width, 1);
        }
        for (int32_t r = 0; d->columns != width && r < n; r++) {
            mg_store_rows(s, c, first + ((row + r) * width + d->ox), acc + r * d->columns, d->columns, 1);
        }
        row += n, plane += n * d->taps.row_step;
    }
}

/* One channel of errors into the plane, its kernel turned around into `turned`. */
MG_HOT void load_channel(mg_depthwise_t *d, const mg_conv2d_t *g, const int8_t *e, const int8_t *w, int8_t *turned) {
    for (int32_t k = g->k_h * g->k_w; k > 0; k--) {
        *turned++ = w[k - 1];
    }
    if (g->stride_h == 1 && g->stride_w == 1) {
        widen_channel(d, e);
    } else if (d->inside_rows > 0) {
        widen_apart(d, g, e);
    }
}

MG_COLD
void mg_depthwise_conv2d_dgrad_s8(const mg_conv2d_t *g, const int8_t *e, const int8_t *restrict w,
                                  int16_t *restrict scratch, mg_store_t *s) {
    const mg_conv2d_t t = transposed(g);
    const mg_layout_t layout = {0, g->out_w, g->out_h};
    const int32_t taps = g->k_h * g->k_w, e_plane = g->out_h * g->out_w, plane = g->in_h * g->in_w;
    int8_t *turned = (int8_t *)scratch;
    mg_depthwise_t d;
    mg_depthwise_begin(&d, &t, &layout, NULL, t.out_h, scratch + ((taps + 3) >> 2) * 2);
    if (d.tile_w == t.out_w && d.sum_rows == t.out_h) { /* whole planes: small ones share the epilogue's set-up */
        const int32_t most = MG_SUM_ELEMENTS / plane;
        const float *acc = (const float *)(const void *)d.sums;
        mg_depthwise_tile(&d, 0, t.out_h, 0);
        d.taps.rows = t.out_h;
        for (int32_t c = 0, n = 0; c < g->in_c; c += n) {
            for (n = 0; n < most && c + n < g->in_c; n++) {
                load_channel(&d, g, e + (c + n) * e_plane, w + (c + n) * taps, turned);
                mg_depthwise_sums(&d.taps, d.plane, turned, d.sums + n * plane);
            }
            mg_sums_to_float(d.sums, n, plane);
            mg_store_rows(s, c, c * plane, acc, plane, n);
        }
        return;
    }
    for (int32_t oy = 0; oy < t.out_h; oy += d.tile_rows) {
        for (int32_t ox = 0; ox < t.out_w; ox += d.tile_w) {
            mg_depthwise_tile(&d, oy, t.out_h, ox);
            for (int32_t c = 0; c < g->in_c; c++) {
                load_channel(&d, g, e + c * e_plane, w + c * taps, turned);
                store_sums(&d, turned, c, c * plane, s);
            }
        }
    }
}
