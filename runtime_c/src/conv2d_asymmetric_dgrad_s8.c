/* conv2d_asymmetric_dgrad.inc for int8 errors. */
#define MG_DGRAD mg_conv2d_asymmetric_dgrad_s8
#define MG_ERROR int8_t
#define MG_ACC int32_t
#include "conv2d_asymmetric_dgrad.inc"
