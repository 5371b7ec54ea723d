/* update_bias.inc for int16 errors and a kept rest. */
#define MG_UPDATE mg_update_bias_residual_s16
#define MG_ERROR int16_t
#define MG_ACC int64_t
#include "round_residual.inc"

#include "update_bias.inc"
