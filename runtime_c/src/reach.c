/* Which outputs of a strided window an input position belongs to: once for every kernel that gathers. */
#include "mg_reach.h"

mg_reach_t mg_reach(int32_t p, int32_t taps, int32_t stride, int32_t dilation) {
    mg_reach_t r = {0, 1, taps, p, dilation};
    if (stride != 1) {
        while (r.k < taps && (p - r.k * dilation) % stride != 0) {
            r.k++;
        }
        while (r.k_step * dilation % stride != 0) {
            r.k_step++;
        }
        r.n = r.k < taps ? (taps - 1 - r.k) / r.k_step + 1 : 0;
        r.o = (p - r.k * dilation) / stride;
        r.o_step = r.k_step * dilation / stride;
    }
    return r;
}

mg_range_t mg_reach_inside(const mg_reach_t *r, int32_t count) {
    mg_range_t t = {0, r->n};
    int32_t first = r->o, last = r->o - (r->n - 1) * r->o_step;
    for (; t.begin < t.end && first >= count; first -= r->o_step) {
        t.begin++;
    }
    for (; t.end > t.begin && last < 0; last += r->o_step) {
        t.end--;
    }
    return t;
}

mg_reached_t mg_reached(int32_t p, int32_t taps, int32_t stride, int32_t dilation, int32_t count) {
    mg_reached_t r = {mg_reach(p, taps, stride, dilation), {0, 0}};
    r.inside = mg_reach_inside(&r.at, count);
    return r;
}
