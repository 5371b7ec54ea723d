/* Depthwise convolutions tile by tile, forward and input gradient. Not a public header.
 *
 * A tile is at most `tile_w` columns by `tile_rows` rows of one channel's output. The input under it is widened once
 * to int16, less the zero point and with zeros for padding (the plane); then every output is a sum of taps of the
 * plane without a bound to check. Sums leave as int32, some rows at a time, for whoever quantises them.
 * Scratch: plane, then sums, aligned to 4 bytes; its size does not grow with the image. */
#ifndef MG_DEPTHWISE_H
#define MG_DEPTHWISE_H

#include "mg_internal.h"

/* The pitch of a plane in elements: a constant wherever assembly reads it (depthwise_sums_armv7em.inc), wide where that saves
 * tiles of 3 x 3 windows. */
enum { MG_PLANE_PITCH = 40, MG_WIDE_PITCH = 72, MG_PLANE_ELEMENTS = 1024, MG_SUM_ELEMENTS = 256 };

/* `rows` x `columns` bytes of x, a row `x_row` bytes from the next, less `zero`. A plane in groups, which is for assembly
 * alone, has the columns of four in the order 0, 2, 1, 3: two words without a permutation. */
typedef struct {
    int32_t rows, columns, x_row, pitch, zero;
    int32_t groups;       /* 3: `plane` is in groups, and begins with one; 0: it is not */
    int32_t group_column; /* the first column's place in its group; where that is not 0, there are 3 columns or more */
} mg_widen_t;
void mg_widen_rows(const mg_widen_t *t, const int8_t *restrict x, int16_t *restrict plane);

/* sums[r, i] = bias + sum_{ky,kx} w[ky, kx] * plane[r * stride_h + ky * dilation_h, i * stride_w + kx * dilation_w],
 * `rows` rows of 4 * `quads` columns. plane and sums are aligned to 4 bytes. A row of the plane is readable to its pitch;
 * int32 wraps. A plane in groups has three columns before the first window. */
typedef struct {
    int32_t rows, quads, bias;
    int32_t row_step; /* stride_h * pitch */
    int32_t pitch, k_h, k_w, stride_w, dilation_h, dilation_w;
    int32_t square; /* k_w + stride_w - 1 where assembly knows the window (k_w odd, not 1), less 2 where the plane is wide; or 0 */
} mg_depthwise_taps_t;
void mg_depthwise_sums(const mg_depthwise_taps_t *t, const int16_t *restrict plane, const int8_t *restrict w,
                       int32_t *restrict sums);
void mg_depthwise_sums_any(const mg_depthwise_taps_t *t, const int16_t *plane, const int8_t *w, int32_t *sums);
bool mg_depthwise_knows(int32_t square); /* whether by assembly, which also fits the pitch that it assumes */
#if MG_ARMV7EM
typedef void mg_depthwise_window_t(const mg_depthwise_taps_t *t, const int16_t *plane, const int8_t *w, int32_t *sums);
mg_depthwise_window_t mg_depthwise_sums_3s1, mg_depthwise_sums_5s1, mg_depthwise_sums_7s1;
mg_depthwise_window_t mg_depthwise_sums_3s2, mg_depthwise_sums_5s2, mg_depthwise_sums_7s2;
mg_depthwise_window_t mg_depthwise_sums_wide_3s1, mg_depthwise_sums_wide_3s2;
#endif

/* y[r * y_row + i] = requantize(sums[r, i]) as mg_conv2d_s8 does, `rows` x `columns`; a row of sums is `columns` rounded
 * up to a multiple of four. */
typedef struct {
    int32_t rows, columns, y_row;
    int32_t zero, min, max;
} mg_requantize_sums_t;
void mg_requantize_sums(const mg_requantize_sums_t *t, const int32_t *restrict sums, const float *scale,
                        int8_t *restrict y);

/* The sums of `rows` x `columns` as float32, in their place and without the gaps at the rows' ends. */
void mg_sums_to_float(int32_t *sums, int32_t rows, int32_t columns);

/* ---- tiles (depthwise_tile.c) -------------------------------------------------------------------------------- */

typedef struct {
    const mg_conv2d_t *g;
    const mg_layout_t *x, *y;
    int16_t *plane;
    int32_t *sums;
    int32_t tile_rows, tile_w, sum_rows; /* of a whole tile; rows whose sums exist at a time */
    int32_t oy, rows, ox, columns;       /* the outputs of the present tile; rows is 0 before the first */
    int32_t iy, ix, inside_rows;         /* the input under it, without padding */
    int16_t *inside;                     /* where that begins in the plane */
    int32_t x_at, y_at;                  /* from a channel's first element to the tile */
    mg_widen_t widen;
    mg_depthwise_taps_t taps;
    mg_requantize_sums_t quantize;
} mg_depthwise_t;

/* Cuts `count` output rows into tiles; y is NULL where nothing is requantised. g, x and y outlive d. */
void mg_depthwise_begin(mg_depthwise_t *d, const mg_conv2d_t *g, const mg_layout_t *x, const mg_layout_t *y,
                        int32_t count, int16_t *scratch);
/* The tile of rows [oy, min(oy + tile_rows, end)) from column ox on; clears the plane. */
void mg_depthwise_tile(mg_depthwise_t *d, int32_t oy, int32_t end, int32_t ox);

/* The next sums are of at most `rows` rows. */
static inline void mg_depthwise_rows(mg_depthwise_t *d, int32_t rows) {
    const int32_t n = mg_min_i32(rows, d->sum_rows), pitch = 4 * d->taps.quads;
    const bool one_row = d->y->row == pitch && d->columns == pitch; /* then several are one */
    d->taps.rows = n;
    d->quantize.rows = one_row ? 1 : n;
    d->quantize.columns = one_row ? n * pitch : d->columns;
}

#endif
