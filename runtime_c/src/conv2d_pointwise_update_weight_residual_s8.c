/* conv2d_pointwise_update_weight.inc for a kept rest. */
#define MG_UPDATE mg_conv2d_pointwise_update_weight_residual_s8
#include "round_residual.inc"

#include "conv2d_pointwise_update_weight.inc"
