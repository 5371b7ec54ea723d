/* The C of the dense convolutions, as portable_*. */
#define MG_PORTABLE
#define mg_conv2d_rows_s8 portable_conv2d_rows_s8
#define mg_conv2d_panels_s8 portable_conv2d_panels_s8
#define mg_conv2d_strips_s8 portable_conv2d_strips_s8
#define mg_weight_pairs_s8 portable_weight_pairs_s8
#define mg_fully_connected_pairs_s8 portable_fully_connected_pairs_s8
#define mg_panel_product_s8 portable_panel_product_s8
#define mg_panel_pointwise_s8 portable_panel_pointwise_s8
#define mg_panel_im2col_s8 portable_panel_im2col_s8
#define mg_panel_taps_s8 portable_panel_taps_s8
#define mg_strip_product_s8 portable_strip_product_s8
#define mg_position_product_s8 portable_position_product_s8
#define mg_expand_s8 portable_expand_s8
#include "conv2d_panels_s8.c"
#include "conv2d_rows_s8.c"
#include "conv2d_strips_s8.c"
#include "expand_s8.c"
#include "fully_connected_pairs_s8.c"
#include "panel_im2col_s8.c"
#include "panel_pointwise_s8.c"
#include "panel_product_s8.c"
#include "panel_taps_s8.c"
#include "position_product_s8.c"
#include "strip_product_s8.c"
#include "weight_pairs_s8.c"
