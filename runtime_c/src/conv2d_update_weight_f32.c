/* conv2d_update_weight.inc for float32 errors. */
#define MG_UPDATE mg_conv2d_update_weight_f32
#define MG_ERROR float
#define MG_ACC float
#include "round_stochastic.inc"

#include "conv2d_update_weight.inc"
