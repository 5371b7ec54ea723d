/* update_bias.inc for int8 errors and a kept rest. */
#define MG_UPDATE mg_update_bias_residual_s8
#define MG_ERROR int8_t
#define MG_ACC int32_t
#define MG_SUM(e, n) mg_sum_s8(e, n)
#include "round_residual.inc"

#include "mg_wgrad.h"
#include "update_bias.inc"
