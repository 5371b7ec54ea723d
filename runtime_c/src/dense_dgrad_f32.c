/* The gradient of the float32 classifier by its input. */
#include "mg_internal.h"

MG_COLD
void mg_dense_dgrad_f32(const float *restrict w, const float *restrict dy, int32_t n_in, int32_t n_out,
                        float *restrict dx) {
    int32_t i = 0;
    for (; i + 4 <= n_in; i += 4) { /* four columns share each dy[o] */
        float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
        const float *column = w + i;
        for (int32_t o = 0; o < n_out; o++) {
            const float d = dy[o], *v = column + (size_t)o * (size_t)n_in;
            a0 = a0 + v[0] * d;
            a1 = a1 + v[1] * d;
            a2 = a2 + v[2] * d;
            a3 = a3 + v[3] * d;
        }
        dx[i] = a0;
        dx[i + 1] = a1;
        dx[i + 2] = a2;
        dx[i + 3] = a3;
    }
    for (; i < n_in; i++) {
        float sum = 0.0f;
        for (int32_t o = 0; o < n_out; o++) {
            sum = sum + w[o * n_in + i] * dy[o];
        }
        dx[i] = sum;
    }
}
