/* conv2d_update_weight.inc for int16 errors and a kept rest. */
#define MG_UPDATE mg_conv2d_update_weight_residual_s16
#define MG_ERROR int16_t
#define MG_ACC int64_t
#include "round_residual.inc"

#include "conv2d_update_weight.inc"
