/* conv2d_update_weight.inc for float32 errors and a kept rest. */
#define MG_UPDATE mg_conv2d_update_weight_residual_f32
#define MG_ERROR float
#define MG_ACC float
#include "round_residual.inc"

#include "conv2d_update_weight.inc"
