/* conv2d_update_weight.inc for int16 errors. */
#define MG_UPDATE mg_conv2d_update_weight_s16
#define MG_ERROR int16_t
#define MG_ACC int64_t
#include "round_stochastic.inc"

#include "conv2d_update_weight.inc"
