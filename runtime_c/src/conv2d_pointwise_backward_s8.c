/* Both gradients of a pointwise convolution, a few input channels after the others: the error takes the place of the input. */
#include "error.inc"

/* What s says of the `channels` from c on, stored to `out`. */
static mg_store_t part_of(const mg_store_t *s, int32_t c, int32_t plane, int8_t *out) {
    mg_store_t part = *s;
    part.out = out;
    part.mult = s->mult != NULL ? s->mult + c : NULL;
    part.mask = s->mask != NULL ? s->mask + c * plane : NULL;
    part.skip = s->skip != NULL ? (const int8_t *)s->skip + c * plane : NULL;
    return part;
}

MG_COLD
uint32_t mg_conv2d_pointwise_backward_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *x,
                                         const mg_subset_t *subset, const float *restrict qas, float rate,
                                         const mg_random_t *random, int8_t *restrict w, int32_t panels, int32_t strip,
                                         int16_t *restrict scratch, float *ratio, float unit, mg_store_t *s) {
    const int32_t plane = g->in_h * g->in_w, channels = 4 * panels;
    int8_t *const made = (int8_t *)scratch, *const out = s->out;
    int16_t *const work = scratch + 2 * panels * plane;
    uint32_t saturated = 0;
    mg_scale_predict(s, *ratio, unit);
    if (s->inv_scale == 0.0f) {
        const mg_split_weights_t whole = {w, NULL, g->in_c};
        mg_conv2d_pointwise_dgrad_s8(g, e, &whole, strip, work, s);
        if (mg_scale_observe(s, ratio, unit)) {
            mg_scale_predict(s, *ratio, unit);
        }
    }
    for (int32_t c = 0; c < g->in_c; c += channels) {
        const uint16_t run[2] = {(uint16_t)c, (uint16_t)mg_min_i32(c + channels, g->in_c)};
        const mg_subset_t trained = {run, subset->outputs, 1, subset->n_outputs, subset->held};
        const mg_split_weights_t columns = {w + c, NULL, g->in_c};
        mg_conv2d_t some = *g;
        mg_store_t part = part_of(s, c, plane, made);
        some.in_c = run[1] - run[0];
        mg_conv2d_pointwise_dgrad_s8(&some, e, &columns, strip, work, &part);
        s->absmax = part.absmax, s->clipped = part.clipped;
        saturated += mg_conv2d_pointwise_update_weight_s8(g, e, x, &trained, qas, rate, random, panels, work, w);
        memcpy(out + c * plane, made, (size_t)(some.in_c * plane));
    }
    (void)mg_scale_observe(s, ratio, unit);
    return saturated;
}
