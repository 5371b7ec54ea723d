/* exp and log from float32 multiplications, additions, one division and exponent bits. NUMERICS.md has the errors. */
#include "mg_internal.h"

static const float LN2_HIGH = 0x1.63p-1f;        /* nine bits: times an exponent it is exact */
static const float LN2_LOW = -2.12194440e-4f; /* ln 2 - LN2_HIGH */

MG_COLD
float mg_exp_f32(float x) {
    /* x = n ln 2 + r, |r| <= ln 2 / 2; the magic constant rounds half to even */
    float shifted = x * 0x1.715476p+0f + 12582912.0f;
    float n = shifted - 12582912.0f;
    float r = (x - n * LN2_HIGH) - n * LN2_LOW;
    float p = 1.3814596e-3f;
    p = p * r + 8.3687175e-3f;
    p = p * r + 4.166839e-2f;
    p = p * r + 1.6666521e-1f;
    p = p * r + 4.9999994e-1f;
    p = (p * (r * r) + r) + 1.0f;
    float power = mg_from_bits((mg_bits(shifted) - 0x4B400000u + 127u) << 23);
    return x > -87.0f ? p * power : 0.0f;
}

MG_COLD
float mg_log_f32(float x) {
    /* x = 2^k m, sqrt(1/2) <= m < sqrt(2); log m = 2 atanh((m - 1) / (m + 1)) */
    uint32_t bits = mg_bits(x) + (0x3F800000u - 0x3F3504F3u);
    float k = (float)((int32_t)(bits >> 23) - 127);
    float m = mg_from_bits((bits & 0x7FFFFFu) + 0x3F3504F3u);
    float s = (m - 1.0f) / (m + 1.0f);
    float z = s * s;
    float p = 1.4936602e-1f;
    p = p * z + 1.9988745e-1f;
    p = p * z + 3.3333388e-1f;
    float twice = s + s;
    return k * LN2_HIGH + ((twice + twice * (z * p)) + k * LN2_LOW);
}
