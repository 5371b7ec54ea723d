/* conv2d_update_weight.inc for int8 errors. */
#define MG_UPDATE mg_conv2d_update_weight_s8
#define MG_ERROR int8_t
#define MG_ACC int32_t
#include "round_stochastic.inc"

#include "conv2d_update_weight.inc"
