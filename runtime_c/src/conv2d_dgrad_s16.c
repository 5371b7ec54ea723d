/* conv2d_dgrad.inc for int16 errors. */
#define MG_DGRAD mg_conv2d_dgrad_s16
#define MG_ERROR int16_t
#define MG_ACC int64_t
#define MG_TERM int32_t
#include "conv2d_dgrad.inc"
