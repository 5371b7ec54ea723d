/* Weight gradients by panels: the reduction is over positions, so that a row of positions takes the place of taps.
 *
 * Positions come in fours, 0, 2, 1, 3: in this order a word of four int8 becomes two words of two int16 without a permutation.
 * Rows are filled up to a multiple of four with zeros, which adds nothing where errors are zero. */
#ifndef MG_WGRAD_H
#define MG_WGRAD_H

#include "mg_internal.h"

/* The panel (mg_panel.h) of four rows of n int8, less `zero`: panel[8 * pair + 2 * row + k] with two positions a pair. */
void mg_rows_panel_s8(const int8_t *const rows[4], int32_t n, int32_t zero, int16_t *restrict panel);

/* Two rows of n errors as the weights that mg_panel_sums_s8 takes: of each pair of positions the first row's, then the second
 * row's. */
void mg_rows_pair_s8(const int8_t *first, const int8_t *second, int32_t n, int16_t *restrict to);

/* The update of mg_conv2d_update_weight of n neighbours: w[k] moves by acc[k] * *factor, with the uniform of index + k.
 * Returns how many ended at +-127. */
uint32_t mg_step_weights_s8(const float *restrict acc, int32_t n, const float *factor, uint32_t key, uint32_t index,
                            int8_t *restrict w);

/* e[0] + ... + e[n - 1]; at most 2^24 of them. */
int32_t mg_sum_s8(const int8_t *e, int32_t n);

/* The position at `place` of a group of four. */
static inline int32_t mg_group_order(int32_t place) { return place == 1 ? 2 : place == 2 ? 1 : place; }

#endif
