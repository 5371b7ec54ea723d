/* conv2d_pointwise_update_weight.inc for accumulated steps. */
#define MG_UPDATE mg_conv2d_pointwise_update_weight_accumulate_s8
#define MG_PENDING int16_t
#include "round_accumulate.inc"

#include "conv2d_pointwise_update_weight.inc"
