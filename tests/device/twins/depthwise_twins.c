/* mg_depthwise_conv2d_rows_s8 and mg_depthwise_conv2d_dgrad_s8: any window, and above all those that assembly knows. */
#include "twins.h"

void portable_depthwise_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count,
                                       const int8_t *restrict x, const mg_weights_t *w, int16_t *restrict scratch,
                                       int8_t *restrict y);

void portable_depthwise_conv2d_dgrad_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict w,
                                        int16_t *restrict scratch, mg_store_t *s);

enum { CHANNELS = 3, SIDE = 80, BYTES = CHANNELS * SIDE * SIDE, TAPS = 9 * 9, TRIALS = 400 };

static int32_t out_size(int32_t size, int32_t before, int32_t after, int32_t k, int32_t stride, int32_t dilation) {
    return (size + before + after - dilation * (k - 1) - 1) / stride + 1;
}

static mg_conv2d_t draw(void) {
    const bool known = pick(0, 4) != 0;
    const int32_t k = 2 * pick(0, 3) + 1, stride = pick(1, 2), channels = pick(1, CHANNELS);
    mg_conv2d_t g = {.in_c = channels, .out_c = channels, .groups = channels, .k_h = k, .k_w = k, .stride_h = stride,
                     .stride_w = stride, .dilation_h = 1, .dilation_w = 1};
    g.x_zero = pick(-128, 127), g.y_zero = pick(0, 2) != 0 ? -128 : pick(-128, 127);
    if (!known) {
        g.k_h = pick(1, 9), g.k_w = pick(1, 9), g.stride_h = pick(1, 3), g.stride_w = pick(1, 3);
        g.dilation_h = pick(1, 2), g.dilation_w = pick(1, 2);
    }
    const int32_t largest = pick(0, 5) == 0 ? SIDE : 20;
    g.in_h = pick(1, largest), g.in_w = pick(1, largest);
    g.pad_top = pick(0, g.k_h), g.pad_left = pick(0, g.k_w);
    const int32_t bottom = pick(0, g.k_h), right = pick(0, g.k_w);
    g.out_h = out_size(g.in_h, g.pad_top, bottom, g.k_h, g.stride_h, g.dilation_h);
    g.out_w = out_size(g.in_w, g.pad_left, right, g.k_w, g.stride_w, g.dilation_w);
    g.y_min = pick(0, 3) != 0 ? -128 : pick(-128, 0), g.y_max = pick(0, 3) != 0 ? 127 : pick(0, 127);
    return g;
}

/* What the next call finds on the stack, so that a field it forgot to set shows. */
__attribute__((noinline)) static void litter_stack(void) {
    int8_t litter[512];
    memset(litter, pick(0, 255), sizeof litter);
    __asm__ volatile("" ::"r"(litter) : "memory");
}

int main(void) {
    static int8_t x[BYTES + 8], y[2][BYTES + 8], w[CHANNELS * TAPS];
    static int16_t scratch[8192];
    for (int32_t trial = 0; trial < TRIALS; trial++) {
        const mg_conv2d_t g = draw();
        const int32_t span = g.dilation_h * (g.k_h - 1) + 1, across = g.dilation_w * (g.k_w - 1) + 1;
        if (g.in_h + g.pad_top < span || g.in_w + g.pad_left < across || g.out_h < 1 || g.out_w < 1 ||
            g.out_h > SIDE || g.out_w > SIDE) {
            continue;
        }
        int32_t bias[CHANNELS];
        float scale[CHANNELS];
        const bool wraps = pick(0, 3) == 0;
        for (int32_t c = 0; c < g.out_c; c++) {
            bias[c] = wraps ? (int32_t)((uint32_t)pick(0, 0xFFFF) << 16 | (uint32_t)pick(0, 0xFFFF)) : pick(-1000, 1000);
            scale[c] = pick(0, 2) == 0 ? 0x1p-8f : pick_float(0.0001f, 0.02f); /* a power of two: ties */
        }
        const int8_t low = (int8_t)pick(-128, 127);
        pick_bytes(x, BYTES), pick_bytes(w, sizeof w);
        if (pick(0, 9) == 0) {
            memset(x, low, BYTES);
        }
        mg_conv2d_rows_t rows = {g, {g.in_h * g.in_w, g.in_w, g.in_h}, {g.out_h * g.out_w, g.out_w, g.out_h}};
        if (pick(0, 1)) {
            rows.x = (mg_layout_t){g.in_w, g.in_c * g.in_w, g.in_h};
            rows.y = (mg_layout_t){g.out_w, g.out_c * g.out_w, g.out_h};
        }
        const mg_weights_t weights = {w, bias, scale};
        const int32_t first = pick(0, 1) * pick(0, g.out_h - 1), from = pick(0, 3);
        const int32_t count = pick(0, 1) ? g.out_h - first : pick(1, g.out_h - first);
        memset(y, 7, sizeof y);
        memset(scratch, pick(0, 255), sizeof scratch);
        litter_stack();
        mg_depthwise_conv2d_rows_s8(&rows, first, count, x + from, &weights, scratch, y[0] + from);
        litter_stack();
        portable_depthwise_conv2d_rows_s8(&rows, first, count, x + from, &weights, scratch, y[1] + from);
        expect_equal(y[0], y[1], sizeof y[0], "depthwise outputs", trial);

        mg_store_t s = {.base_scale = 0x1p-4f, .inv_scale = pick_float(0.01f, 1.0f), .out_type = MG_S8}, t = s;
        s.out = y[0], t.out = y[1];
        pick_bytes(x, BYTES);
        litter_stack();
        mg_depthwise_conv2d_dgrad_s8(&g, x + from, w, scratch, &s);
        litter_stack();
        portable_depthwise_conv2d_dgrad_s8(&g, x + from, w, scratch, &t);
        expect_equal(y[0], y[1], sizeof y[0], "depthwise gradients", trial);
        expect_equal(&s.absmax, &t.absmax, sizeof s.absmax, "their maximum", trial);
    }
    return 0;
}
