/* mg_store_row, mg_store_rows: any rows, every epilogue. */
#include "twins.h"

void portable_store_row(mg_store_t *s, int32_t c, int32_t i, int32_t step, const float *acc, int32_t n);
void portable_store_rows(mg_store_t *s, int32_t c, int32_t i, const float *acc, int32_t n, int32_t rows);

enum { LENGTH = 100, START = 20, CHANNELS = 3, TRIALS = 3000 };

static mg_store_t draw(float mult[CHANNELS], const int8_t *y, const uint8_t *bits) {
    mg_store_t s = {.out_type = pick(0, 7) != 0 ? MG_S8 : MG_S16, .skip_type = MG_S8};
    s.base_scale = pick(0, 1) ? 0x1p-6f : pick_float(0.001f, 0.1f);
    s.inv_scale = pick(0, 15) == 0 ? 0.0f : pick(0, 7) == 0 ? 1.7f : (float)(1 << pick(0, 4)) * 0.25f;
    s.absmax = pick(0, 3) == 0 ? 0.0f : pick_float(0.0f, 200.0f);
    s.skip_scale = pick_float(-1.0f, 1.0f);
    for (int32_t c = 0; c < CHANNELS; c++) {
        mult[c] = pick_float(0.0f, 2.0f);
    }
    s.mult = pick(0, 3) != 0 ? mult : NULL;
    switch (pick(0, 3)) {
    case 0:
        break;
    case 1:
        s.mask = y, s.mask_min = pick(-128, 0), s.mask_max = pick(0, 127);
        break;
    default:
        s.mask_bits = bits;
    }
    return s;
}

int main(void) {
    static int8_t y[LENGTH], skip[2 * LENGTH];
    static int16_t out[2][2 * LENGTH]; /* as int8 or int16 */
    static uint8_t bits[LENGTH / 8 + 1];
    for (int32_t trial = 0; trial < TRIALS; trial++) {
        float mult[CHANNELS], acc[LENGTH];
        mg_store_t s = draw(mult, y, bits), t;
        const int32_t n = pick(0, 64), i = pick(0, START), c = pick(0, CHANNELS - 1), step = pick(0, 9) != 0 ? 1 : 2;
        const int32_t largest = pick(1, 30000);
        pick_bytes(y, LENGTH), pick_bytes((int8_t *)bits, (i + n + 7) / 8), pick_bytes(skip, 2 * LENGTH);
        for (int32_t k = 0; k < n; k++) {
            acc[k] = (float)pick(-largest, largest);
        }
        memset(out, 0, sizeof out);
        t = s;
        s.out = out[0], t.out = out[1];
        if (step == 1 && s.out_type == MG_S8 && pick(0, 1)) {
            s.skip = pick(0, 1) ? (const void *)skip : out[0];
            t.skip = s.skip == skip ? s.skip : out[1];
            memcpy(out[0], skip, sizeof skip), memcpy(out[1], skip, sizeof skip);
        }
        if (step == 1) {
            const int32_t rows = pick(1, CHANNELS - c);
            mg_store_rows(&s, c, i, acc, n / rows, rows);
            portable_store_rows(&t, c, i, acc, n / rows, rows);
        } else {
            mg_store_row(&s, c, i, step, acc, n / step);
            portable_store_row(&t, c, i, step, acc, n / step);
        }
        expect_equal(out[0], out[1], sizeof out[0], "stored errors", trial);
        expect_equal(&s.absmax, &t.absmax, sizeof s.absmax, "absmax", trial);
        expect_equal(&s.clipped, &t.clipped, sizeof s.clipped, "clipped", trial);
    }
    return 0;
}
