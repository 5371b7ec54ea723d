/* conv2d_asymmetric_dgrad.inc for int16 errors. */
#define MG_DGRAD mg_conv2d_asymmetric_dgrad_s16
#define MG_ERROR int16_t
#define MG_ACC int64_t
#include "conv2d_asymmetric_dgrad.inc"
