/* The gradient of a dense layer by its input, for int8 errors. */
#include "error.inc"

/* Of n <= 4 neighbouring inputs, which share the errors; w: the first one's weights, a row of in_c apart. Past the last input
 * its weights are read again. */
MG_HOT void sum_four(const mg_conv2d_t *g, const int8_t *e, const int8_t *w, int32_t n, float acc[4]) {
    const int32_t step = g->in_c, i1 = mg_min_i32(1, n - 1), i2 = mg_min_i32(2, n - 1), i3 = n - 1;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t o = g->out_c; o > 0; o--, w += step) {
        const int32_t v = *e++;
        a0 += w[0] * v;
        a1 += w[i1] * v;
        a2 += w[i2] * v;
        a3 += w[i3] * v;
    }
    acc[0] = (float)a0, acc[1] = (float)a1, acc[2] = (float)a2, acc[3] = (float)a3;
}

MG_COLD
void mg_fully_connected_dgrad_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict w, mg_store_t *s) {
    for (int32_t c = 0; c < g->in_c; c += 4) {
        const int32_t n = mg_min_i32(4, g->in_c - c);
        float acc[4];
        sum_four(g, e, w + c, n, acc);
        mg_store_rows(s, c, c, acc, 1, n);
    }
}
