/* The C of the kernels that have an assembly twin, as portable_*. */
#define MG_PORTABLE
#define mg_store portable_store
#define mg_store_row portable_store_row
#define mg_store_rows portable_store_rows
#define mg_pow2ceil_f32 portable_pow2ceil_f32
#define mg_scale_predict portable_scale_predict
#define mg_scale_observe portable_scale_observe
#define mg_add_s8 portable_add_s8
#define mg_mask_bits portable_mask_bits
#define mg_panel_sums_s8 portable_panel_sums_s8
#define mg_rows_pair_s8 portable_rows_pair_s8
#define mg_rows_panel_s8 portable_rows_panel_s8
#define mg_step_weights_s8 portable_step_weights_s8
#define mg_sum_s8 portable_sum_s8
#define mg_weight_columns_s8 portable_weight_columns_s8
#define mg_weight_columns_of_pairs_s8 portable_weight_columns_of_pairs_s8
#include "add_s8.c"
#include "mask_bits.c"
#include "panel_sums_s8.c"
#include "rows_pair_s8.c"
#include "rows_panel_s8.c"
#include "step_weights_s8.c"
#include "store.c"
#include "sum_s8.c"
#include "weight_columns_of_pairs_s8.c"
#include "weight_columns_s8.c"

#define mg_widen_rows portable_widen_rows
#define mg_depthwise_sums portable_depthwise_sums
#define mg_depthwise_sums_any portable_depthwise_sums_any
#define mg_depthwise_knows portable_depthwise_knows
#define mg_requantize_sums portable_requantize_sums
#define mg_sums_to_float portable_sums_to_float
#define mg_depthwise_conv2d_dgrad_s8 portable_depthwise_conv2d_dgrad_s8
#define mg_depthwise_begin portable_depthwise_begin
#define mg_depthwise_tile portable_depthwise_tile
#define mg_depthwise_conv2d_rows_s8 portable_depthwise_conv2d_rows_s8
void mg_depthwise_conv2d_dgrad_s8(const mg_conv2d_t *g, const int8_t *e, const int8_t *restrict w,
                                  int16_t *restrict scratch, mg_store_t *s);
void mg_depthwise_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *x,
                                 const mg_weights_t *w, int16_t *restrict scratch, int8_t *y);
#include "depthwise_conv2d_dgrad_s8.c"
#include "depthwise_conv2d_rows_s8.c"
#include "depthwise_sums.c"
#include "depthwise_sums_any.c"
#include "depthwise_tile.c"
#include "requantize_sums.c"
#include "sums_to_float.c"
#include "widen_rows.c"
