/* conv2d_update_weight.inc for float32 errors and accumulated steps. */
#define MG_UPDATE mg_conv2d_update_weight_accumulate_f32
#define MG_ERROR float
#define MG_ACC float
#define MG_PENDING int16_t
#include "round_accumulate.inc"

#include "conv2d_update_weight.inc"
