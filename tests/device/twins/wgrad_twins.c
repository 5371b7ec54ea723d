/* mg_rows_panel_s8, mg_rows_pair_s8, mg_step_weights_s8: rows of any length, steps of any size. */
#include "twins.h"

#include "mg_wgrad.h"

void portable_rows_panel_s8(const int8_t *const rows[4], int32_t n, int32_t zero, int16_t *restrict panel);
void portable_rows_pair_s8(const int8_t *first, const int8_t *second, int32_t n, int16_t *restrict to);
uint32_t portable_step_weights_s8(const float *restrict acc, int32_t n, const float *factor, uint32_t key, uint32_t index,
                                  int8_t *restrict w);

enum { LENGTH = 40, TRIALS = 3000 };

static void rows(int32_t trial) {
    static int8_t x[4][LENGTH + 3];
    static int16_t panel[2][4 * LENGTH + 16] __attribute__((aligned(4))), pair[2][2 * LENGTH + 8] __attribute__((aligned(4)));
    const int32_t n = pick(1, LENGTH), zero = pick(-128, 127), shift = pick(0, 3);
    pick_bytes(x[0], 4 * (LENGTH + 3));
    const int8_t *const at[4] = {x[pick(0, 3)] + shift, x[1], x[2] + shift, x[3]};
    memset(panel, 0, sizeof panel), memset(pair, 0, sizeof pair);
    mg_rows_panel_s8(at, n, zero, panel[0]);
    portable_rows_panel_s8(at, n, zero, panel[1]);
    expect_equal(panel[0], panel[1], sizeof panel[0], "panels", trial);
    mg_rows_pair_s8(at[0], at[3], n, pair[0]);
    portable_rows_pair_s8(at[0], at[3], n, pair[1]);
    expect_equal(pair[0], pair[1], sizeof pair[0], "pairs", trial);
}

static void steps(int32_t trial) {
    static const float factors[] = {0.0f, 1e-6f, 1e-4f, 0.01f, 1.0f, -0.5f, 3e5f, 1e30f, 1e38f * 10.0f};
    int8_t w[2][LENGTH];
    float acc[LENGTH];
    const int32_t n = pick(1, LENGTH), largest = pick(1, 1 << 22), shift = pick(0, 3);
    const float factor = factors[pick(0, 8)];
    const uint32_t key = (uint32_t)pick(0, 1 << 22) * 1021u, index = (uint32_t)pick(0, 100000);
    pick_bytes(w[0], LENGTH);
    memcpy(w[1], w[0], LENGTH);
    for (int32_t i = 0; i < n; i++) {
        acc[i] = pick(0, 9) == 0 ? 2147483648.0f * (float)pick(-1, 1) : (float)pick(-largest, largest);
    }
    const int32_t count = mg_min_i32(n, LENGTH - shift);
    const uint32_t saturated = mg_step_weights_s8(acc, count, &factor, key, index, w[0] + shift);
    const uint32_t expected = portable_step_weights_s8(acc, count, &factor, key, index, w[1] + shift);
    expect_equal(w[0], w[1], LENGTH, "weights", trial);
    expect_equal(&saturated, &expected, sizeof saturated, "counts of saturated weights", trial);
}

int main(void) {
    for (int32_t trial = 0; trial < TRIALS; trial++) {
        rows(trial);
        steps(trial);
    }
    return 0;
}
