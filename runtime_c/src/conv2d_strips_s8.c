/* Dense convolution by strips of panels: the weights of two channels are widened once for all panels of a strip. */
#include "panel_expand.inc"

/* `count` panels beside each other, the first at `position` of `row`. */
static void expand_strip(const mg_conv2d_rows_t *g, int32_t row, int32_t position, int32_t count, const int8_t *x,
                         const int8_t *flat, int32_t taps, int16_t *panel) {
    for (; count > 0; count--, position += 4, panel += 8 * taps) {
        expand(g, row, position, 4, x, flat, panel);
    }
}

MG_COLD
void mg_conv2d_strips_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *restrict x,
                         const mg_weights_t *w, int32_t panels, int16_t *restrict scratch, int8_t *restrict y) {
    const mg_conv2d_t *c = &g->conv;
    const int32_t taps = (c->in_c * c->k_h * c->k_w + 1) / 2;
    const mg_product_t layer = {*w, c->out_c / 2, taps, g->y.channel, c->y_zero, c->y_min, c->y_max};
    const int32_t step = mg_rows_at_once(g, first, count), length = step * c->out_w;
    int16_t *const wide = scratch + panels * 8 * taps;
    for (int32_t row = first; row < first + count; row += step) {
        const int8_t *flat = mg_is_pointwise(c) ? x + mg_row_offset(&g->x, row) : NULL;
        int8_t *const to = y + mg_row_offset(&g->y, row);
        for (int32_t i = 0; i < length;) {
            const int32_t n = mg_max_i32(1, mg_min_i32(panels, (length - i) / 4));
            i = mg_min_i32(i, length - 4); /* the last four may overlap those before them */
            expand_strip(g, row, i, n, x, flat, taps, scratch);
            mg_strip_product_s8(&layer, scratch, n, wide, to + i);
            i += 4 * n;
        }
    }
}
