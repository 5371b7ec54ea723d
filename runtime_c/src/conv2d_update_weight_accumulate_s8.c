/* conv2d_update_weight.inc for int8 errors and accumulated steps. */
#define MG_UPDATE mg_conv2d_update_weight_accumulate_s8
#define MG_ERROR int8_t
#define MG_ACC int32_t
#define MG_PENDING int16_t
#include "round_accumulate.inc"

#include "conv2d_update_weight.inc"
