/* mg_add_s8, mg_mask_bits, mg_sum_s8: any length, limits and scale. */
#include "twins.h"

#include "mg_wgrad.h"

void portable_add_s8(const mg_add_t *g, const int8_t *a, const int8_t *b, int32_t n, int8_t *y);
void portable_mask_bits(const int8_t *restrict y, int32_t n, int32_t min, int32_t max, uint8_t *restrict bits);
int32_t portable_sum_s8(const int8_t *e, int32_t n);

enum { LENGTH = 70, TRIALS = 3000 };

int main(void) {
    static int8_t a[2][LENGTH], b[LENGTH], y[2][LENGTH];
    static uint8_t bits[2][LENGTH / 8 + 1];
    for (int32_t trial = 0; trial < TRIALS; trial++) {
        const int32_t n = pick(0, LENGTH), high = pick(-127, 127), low = pick(-128, high);
        const float scale = pick(0, 9) == 0 ? 1000.0f : pick_float(0.0f, 2.0f);
        const mg_add_t g = {pick(0, 3) == 0 ? 0.5f : scale, pick(0, 3) == 0 ? 0.5f : pick_float(0.0f, 2.0f), pick(-128, 127),
                            pick(-128, 127), pick(low, high), low, high};
        pick_bytes(a[0], LENGTH), pick_bytes(b, LENGTH);
        memcpy(a[1], a[0], LENGTH);
        memset(y, 0, sizeof y);
        const bool over = pick(0, 1); /* y may be a */
        mg_add_s8(&g, a[0], b, n, over ? a[0] : y[0]);
        portable_add_s8(&g, a[1], b, n, over ? a[1] : y[1]);
        expect_equal(a[0], a[1], LENGTH, "sums over a", trial);
        expect_equal(y[0], y[1], LENGTH, "sums", trial);
        memset(bits, 0, sizeof bits);
        mg_mask_bits(b, n, low, high, bits[0]);
        portable_mask_bits(b, n, low, high, bits[1]);
        expect_equal(bits[0], bits[1], sizeof bits[0], "masks", trial);
        const int32_t sum[2] = {mg_sum_s8(b + n / 4, n / 2), portable_sum_s8(b + n / 4, n / 2)};
        expect_equal(sum, sum + 1, sizeof sum[0], "sums of errors", trial);
    }
    return 0;
}
