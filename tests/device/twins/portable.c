/* The C of the kernels that have an assembly twin, as portable_*. */
#define MG_PORTABLE
#define mg_store portable_store
#define mg_store_row portable_store_row
#define mg_store_rows portable_store_rows
#define mg_pow2ceil_f32 portable_pow2ceil_f32
#define mg_scale_predict portable_scale_predict
#define mg_scale_observe portable_scale_observe
#define mg_panel_sums_s8 portable_panel_sums_s8
#define mg_weight_columns_s8 portable_weight_columns_s8
#include "panel_sums_s8.c"
#include "store.c"
#include "weight_columns_s8.c"
