/* Depthwise convolution: every output channel reads one input channel. */
#include "depthwise_widen.inc"

/* The other rows of the tile: those whose sums have no room, or that lie at the ring's beginning. */
MG_COLD MG_APART void requantize_rest(mg_depthwise_t *d, const int8_t *w, const float *scale, int8_t *y) {
    const int32_t first = d->taps.rows;
    for (int32_t done = first; done < d->rows; done += d->taps.rows) {
        const int32_t slot = (d->oy + done) % d->y->rows;
        mg_depthwise_rows(d, mg_min_i32(d->rows - done, d->y->rows - slot));
        mg_depthwise_sums(&d->taps, d->plane + done * d->taps.row_step, w, d->sums);
        mg_requantize_sums(&d->quantize, d->sums, scale, y + (slot * d->y->row + d->ox));
    }
    mg_depthwise_rows(d, first);
}

/* The present tile of all channels. */
static void tile_of_channels(mg_depthwise_t *d, const int8_t *x, const mg_weights_t *w, int8_t *y) {
    const mg_conv2d_t *g = d->g;
    const int32_t multiplier = g->out_c / g->in_c, taps = g->k_h * g->k_w, x_channel = d->x->channel;
    const int32_t y_channel = d->y->channel;
    const int8_t *weight = w->w;
    for (int32_t c = 0, left = 0; c < g->out_c; c++, left--, weight += taps, y += y_channel) {
        if (left == 0) {
            widen_channel(d, x);
            x += x_channel, left = multiplier;
        }
        d->taps.bias = w->bias[c];
        mg_depthwise_sums(&d->taps, d->plane, weight, d->sums);
        mg_requantize_sums(&d->quantize, d->sums, &w->scale[c], y + d->y_at);
        if (d->taps.rows < d->rows) {
            requantize_rest(d, weight, &w->scale[c], y);
        }
    }
}

MG_COLD
void mg_depthwise_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *x,
                                 const mg_weights_t *w, int16_t *restrict scratch, int8_t *y) {
    const int32_t end = first + count;
    mg_depthwise_t d;
    mg_depthwise_begin(&d, &g->conv, &g->x, &g->y, count, scratch);
    for (int32_t oy = first; oy < end; oy += d.tile_rows) {
        for (int32_t ox = 0; ox < g->conv.out_w; ox += d.tile_w) {
            mg_depthwise_tile(&d, oy, end, ox);
            tile_of_channels(&d, x, w, y);
        }
    }
}
