/* mg_weight_columns_s8, mg_panel_sums_s8: any numbers of channels and panels. */
#include "twins.h"

#include "mg_panel.h"

void portable_panel_sums_s8(const int16_t *restrict panel, const int16_t *restrict w, int32_t taps, int32_t count,
                            float *restrict acc);
void portable_weight_columns_s8(const int8_t *restrict w, int32_t in_c, int32_t out_c, int32_t c, int16_t *restrict to);
void portable_weight_columns_of_pairs_s8(const int8_t *restrict w, int32_t in_c, int32_t out_c, int32_t c,
                                         int16_t *restrict to);

enum { MOST_IN = 20, MOST_OUT = 70, MOST_PANELS = 4, TRIALS = 2000 };

int main(void) {
    static int8_t w[MOST_IN * MOST_OUT] __attribute__((aligned(4)));
    static int16_t columns[2][2 * MOST_OUT + 4] __attribute__((aligned(4)));
    static int16_t panel[MOST_PANELS * 4 * MOST_OUT] __attribute__((aligned(4)));
    static float acc[2][2 * 4 * MOST_PANELS + 1];
    for (int32_t trial = 0; trial < TRIALS; trial++) {
        const int32_t in_c = pick(1, MOST_IN), out_c = pick(1, MOST_OUT), count = pick(1, MOST_PANELS);
        const int32_t taps = (out_c + 1) / 2, c = pick(0, (in_c - 1) / 2) * 2;
        const int8_t extreme = (int8_t)(pick(0, 9) == 0 ? -128 : 0);
        pick_bytes(w, in_c * out_c);
        for (int32_t i = 0; i < count * 8 * taps; i++) {
            panel[i] = (int16_t)(extreme != 0 ? extreme : pick(-255, 255));
        }
        memset(columns, 77, sizeof columns);
        mg_weight_columns_s8(w, in_c, out_c, c, columns[0]);
        portable_weight_columns_s8(w, in_c, out_c, c, columns[1]);
        expect_equal(columns[0], columns[1], sizeof columns[0], "columns", trial);
        memset(columns, 77, sizeof columns); /* any bytes are weights in pairs, too */
        mg_weight_columns_of_pairs_s8(w, in_c, out_c, c, columns[0]);
        portable_weight_columns_of_pairs_s8(w, in_c, out_c, c, columns[1]);
        expect_equal(columns[0], columns[1], sizeof columns[0], "columns of pairs", trial);
        memset(acc, 0, sizeof acc);
        mg_panel_sums_s8(panel, columns[0], taps, count, acc[0]);
        portable_panel_sums_s8(panel, columns[0], taps, count, acc[1]);
        expect_equal(acc[0], acc[1], sizeof acc[0], "sums", trial);
    }
    return 0;
}
