/* The tap sums of any depthwise convolution over a widened plane. */
#include "mg_depthwise.h"

/* Four neighbours share each weight. */
MG_HOT void sum_quad(const mg_depthwise_taps_t *t, const int16_t *plane, const int8_t *w, int32_t *sums) {
    const int32_t s1 = t->stride_w, s2 = 2 * s1, s3 = 3 * s1, step = t->dilation_w, down = t->dilation_h * t->pitch;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t ky = t->k_h; ky > 0; ky--, plane += down) {
        const int16_t *at = plane;
        for (int32_t kx = t->k_w; kx > 0; kx--, at += step) {
            const int32_t k = *w++;
            a0 += at[0] * k;
            a1 += at[s1] * k;
            a2 += at[s2] * k;
            a3 += at[s3] * k;
        }
    }
    const uint32_t bias = (uint32_t)t->bias; /* the accumulator wraps when the bias takes it past int32 */
    sums[0] = (int32_t)((uint32_t)a0 + bias), sums[1] = (int32_t)((uint32_t)a1 + bias);
    sums[2] = (int32_t)((uint32_t)a2 + bias), sums[3] = (int32_t)((uint32_t)a3 + bias);
}

void mg_depthwise_sums_any(const mg_depthwise_taps_t *t, const int16_t *plane, const int8_t *w, int32_t *sums) {
    for (int32_t r = 0; r < t->rows; r++, plane += t->row_step) {
        const int16_t *at = plane;
        for (int32_t q = 0; q < t->quads; q++, at += 4 * t->stride_w, sums += 4) {
            sum_quad(t, at, w, sums);
        }
    }
}
