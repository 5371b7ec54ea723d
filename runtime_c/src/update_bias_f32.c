/* update_bias.inc for float32 errors. */
#define MG_UPDATE mg_update_bias_f32
#define MG_ERROR float
#define MG_ACC float
#include "round_stochastic.inc"

#include "update_bias.inc"
