/* mg_conv2d_rows_s8, mg_conv2d_strips_s8, mg_conv2d_panels_s8 and mg_fully_connected_pairs_s8: any shape, layout and grid, rows by themselves. */
#include "twins.h"

void portable_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *x,
                             const mg_weights_t *w, int16_t *scratch, int8_t *y);
void portable_conv2d_strips_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *x,
                               const mg_weights_t *w, int32_t panels, int16_t *scratch, int8_t *y);
void portable_conv2d_panels_s8(const mg_conv2d_t *g, const int8_t *x, const mg_split_weights_t *w, const int32_t *bias,
                               const float *scale, int32_t panels, int16_t *scratch, int8_t *y);
void portable_fully_connected_pairs_s8(const mg_conv2d_t *g, const int8_t *x, const mg_weights_t *w, int16_t *scratch,
                                       int8_t *y);

enum { CHANNELS = 19, SIDE = 14, INPUTS = CHANNELS * SIDE * SIDE, TAPS = 20 * 25, OUTPUTS = CHANNELS * 26 * 26, PANELS = 5 };

static int8_t x[INPUTS + 3], y[2][OUTPUTS];
static _Alignas(4) int8_t weights[TAPS * (CHANNELS + 1) + 3];
static _Alignas(4) int16_t scratch[(4 * PANELS + 2) * TAPS];

/* Weights, biases and scales such that sums reach from a few units of the grid to far beyond it. */
static mg_weights_t draw_weights(int32_t taps) {
    static int32_t bias[CHANNELS];
    static float scale[CHANNELS];
    const float largest = pick(0, 3) == 0 ? 1e4f : 0.03f;
    pick_bytes(weights, sizeof weights);
    if (pick(0, 9) == 0) {
        memset(weights, -128, sizeof weights);
    }
    for (int32_t c = 0; c < CHANNELS; c++) {
        bias[c] = pick(0, 9) == 0 ? (int32_t)0x7FFFFF00 : pick(-taps * 500, taps * 500);
        /* powers of two make ties, which round to even */
        scale[c] = pick(0, 1) ? 0x1p-10f : pick_float(0.0f, largest);
    }
    return (mg_weights_t){weights, bias, scale};
}

static mg_layout_t draw_layout(int32_t channels, int32_t height, int32_t width) {
    if (pick(0, 1)) {
        return (mg_layout_t){height * width, width, height};
    }
    return (mg_layout_t){width, channels * width, height};
}

static mg_conv2d_rows_t draw_convolution(void) {
    mg_conv2d_rows_t g;
    mg_conv2d_t *c = &g.conv;
    do {
        const int32_t kernel = pick(0, 1), stride = pick(1, 3);
        *c = (mg_conv2d_t){.in_c = pick(1, CHANNELS), .in_h = pick(1, SIDE), .in_w = pick(1, SIDE), .groups = 1};
        c->out_c = pick(1, CHANNELS), c->k_h = c->k_w = 1;
        c->stride_h = c->stride_w = pick(0, 1) ? 1 : stride, c->dilation_h = c->dilation_w = 1;
        if (kernel) {
            c->k_h = pick(1, 5), c->k_w = pick(1, 5), c->stride_h = pick(1, 3);
            c->dilation_h = pick(1, 2), c->dilation_w = pick(1, 3) / 3 + 1;
            c->pad_top = pick(0, 4), c->pad_left = pick(0, 4);
        }
        const int32_t bottom = kernel ? pick(0, 4) : 0, right = kernel ? pick(0, 4) : 0;
        c->out_h = c->in_h + c->pad_top + bottom - c->dilation_h * (c->k_h - 1) - 1;
        c->out_w = c->in_w + c->pad_left + right - c->dilation_w * (c->k_w - 1) - 1;
    } while (c->out_h < 0 || c->out_w < 0);
    c->out_h = c->out_h / c->stride_h + 1, c->out_w = c->out_w / c->stride_w + 1;
    c->x_zero = pick(-128, 127), c->y_zero = pick(0, 1) ? -128 : pick(-128, 127), c->y_min = -128, c->y_max = 127;
    if (pick(0, 2) == 0) {
        c->y_min = pick(-128, 10), c->y_max = pick(10, 127);
    }
    g.x = draw_layout(c->in_c, c->in_h, c->in_w), g.y = draw_layout(c->out_c, c->out_h, c->out_w);
    return g;
}

int main(void) {
    for (int32_t trial = 0; trial < 600; trial++) {
        const mg_conv2d_rows_t g = draw_convolution();
        const mg_weights_t w = draw_weights(g.conv.in_c * g.conv.k_h * g.conv.k_w);
        const int32_t first = pick(0, g.conv.out_h - 1), count = pick(1, g.conv.out_h - first), odd = pick(0, 3);
        pick_bytes(x, sizeof x), memset(y, 77, sizeof y);
        mg_conv2d_rows_s8(&g, first, count, x + odd, &w, scratch, y[0]);
        portable_conv2d_rows_s8(&g, first, count, x + odd, &w, scratch, y[1]);
        expect_equal(y[0], y[1], OUTPUTS, "convolution", trial);
        const int32_t panels = pick(1, PANELS), even = pick(0, g.conv.in_c / 2) * 2;
        if (g.conv.out_c % 2 == 0 && g.conv.out_w >= 4) {
            memset(y, 77, sizeof y);
            mg_conv2d_strips_s8(&g, first, count, x + odd, &w, panels, scratch, y[0]);
            portable_conv2d_strips_s8(&g, first, count, x + odd, &w, panels, scratch, y[1]);
            expect_equal(y[0], y[1], OUTPUTS, "convolution by strips", trial);
        }
        const mg_split_weights_t parts = {weights + odd, weights, even > 0 ? even : g.conv.in_c}; /* any bytes are weights */
        mg_conv2d_panels_s8(&g.conv, x + odd, &parts, w.bias, w.scale, panels, scratch, y[0]);
        portable_conv2d_panels_s8(&g.conv, x + odd, &parts, w.bias, w.scale, panels, scratch, y[1]);
        expect_equal(y[0], y[1], OUTPUTS, "convolution of weights in two parts", trial);
    }
    for (int32_t trial = 0; trial < 600; trial++) {
        mg_conv2d_t c = {.in_c = pick(1, TAPS), .out_c = pick(1, CHANNELS), .x_zero = pick(-128, 127)};
        const mg_weights_t w = draw_weights(c.in_c);
        const int32_t odd = pick(0, 3);
        c.y_zero = pick(0, 1) ? -128 : pick(-128, 127), c.y_min = pick(0, 1) ? -128 : pick(-128, 10), c.y_max = pick(0, 1) ? 127 : pick(10, 127);
        pick_bytes(x, TAPS + 3), memset(y, 77, sizeof y);
        mg_fully_connected_pairs_s8(&c, x + odd, &w, scratch, y[0] + odd);
        portable_fully_connected_pairs_s8(&c, x + odd, &w, scratch, y[1] + odd);
        expect_equal(y[0], y[1], CHANNELS + 4, "fully connected", trial);
    }
    return 0;
}
