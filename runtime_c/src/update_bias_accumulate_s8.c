/* update_bias.inc for int8 errors and accumulated steps. */
#define MG_UPDATE mg_update_bias_accumulate_s8
#define MG_ERROR int8_t
#define MG_ACC int32_t
#define MG_SUM(e, n) mg_sum_s8(e, n)
#define MG_PENDING int32_t
#include "round_accumulate.inc"

#include "mg_wgrad.h"
#include "update_bias.inc"
