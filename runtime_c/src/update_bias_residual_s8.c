/* update_bias.inc for int8 errors and a kept rest. */
#define MG_UPDATE mg_update_bias_residual_s8
#define MG_ERROR int8_t
#define MG_ACC int32_t
#include "round_residual.inc"

#include "update_bias.inc"
