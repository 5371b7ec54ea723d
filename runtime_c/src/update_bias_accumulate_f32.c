/* update_bias.inc for float32 errors and accumulated steps. */
#define MG_UPDATE mg_update_bias_accumulate_f32
#define MG_ERROR float
#define MG_ACC float
#define MG_PENDING int32_t
#include "round_accumulate.inc"

#include "update_bias.inc"
