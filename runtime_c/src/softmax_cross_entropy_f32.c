/* Cross entropy of one sample's logits, and its gradient. */
#include "mg_internal.h"

void mg_softmax_cross_entropy_f32(const float *restrict x, int32_t n, int32_t label, float *restrict loss,
                                  float *restrict d) {
    float largest = x[0], sum = 0.0f;
    for (int32_t i = 1; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    for (int32_t i = 0; i < n; i++) {
        d[i] = mg_exp_f32(x[i] - largest);
        sum = sum + d[i];
    }
    for (int32_t i = 0; i < n; i++) {
        d[i] = d[i] / sum - (i == label ? 1.0f : 0.0f);
    }
    *loss = mg_log_f32(sum) - (x[label] - largest);
}
