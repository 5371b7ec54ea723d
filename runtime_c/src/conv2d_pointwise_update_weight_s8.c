/* conv2d_pointwise_update_weight.inc. */
#define MG_UPDATE mg_conv2d_pointwise_update_weight_s8
#include "round_stochastic.inc"

#include "conv2d_pointwise_update_weight.inc"
