/* update_bias.inc for int8 errors. */
#define MG_UPDATE mg_update_bias_s8
#define MG_ERROR int8_t
#define MG_ACC int32_t
#include "round_stochastic.inc"

#include "update_bias.inc"
