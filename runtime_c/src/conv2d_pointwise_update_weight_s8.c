/* conv2d_pointwise_update_weight.inc. */
#define MG_UPDATE mg_conv2d_pointwise_update_weight_s8
#include "round_stochastic.inc"

#include "mg_wgrad.h"

/* Here and not in the template: a folder takes the files of the functions that its files call. */
static uint32_t step_stochastic(const float *acc, int32_t n, float factor, uint32_t key, uint32_t element, int8_t *w) {
    return mg_step_weights_s8(acc, n, &factor, key, element, w);
}

#include "conv2d_pointwise_update_weight.inc"
