/* update_bias.inc for int16 errors. */
#define MG_UPDATE mg_update_bias_s16
#define MG_ERROR int16_t
#define MG_ACC int64_t
#include "round_stochastic.inc"

#include "update_bias.inc"
