/* update_bias.inc for int16 errors and accumulated steps. */
#define MG_UPDATE mg_update_bias_accumulate_s16
#define MG_ERROR int16_t
#define MG_ACC int64_t
#define MG_PENDING int32_t
#include "round_accumulate.inc"

#include "update_bias.inc"
