/* update_bias.inc for float32 errors and a kept rest. */
#define MG_UPDATE mg_update_bias_residual_f32
#define MG_ERROR float
#define MG_ACC float
#include "round_residual.inc"

#include "update_bias.inc"
