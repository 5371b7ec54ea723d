/* conv2d_asymmetric_dgrad.inc for float32 errors. */
#define MG_DGRAD mg_conv2d_asymmetric_dgrad_f32
#define MG_ERROR float
#define MG_ACC float
#include "conv2d_asymmetric_dgrad.inc"
