/* Neighbouring weights take their step. */
#include "round_stochastic.inc"

#include "mg_wgrad.h"

static uint32_t step_each(const float *acc, int32_t n, float factor, uint32_t key, uint32_t index, int8_t *w) {
    const rounding_t rounding = {key};
    uint32_t saturated = 0;
    for (int32_t k = 0; k < n; k++, index++) {
        const int32_t change = whole_quanta(&rounding, (int32_t)index, 0, acc[k] * factor);
        const int32_t moved = mg_max_i32(mg_min_i32(w[k] + change, 127), -127);
        w[k] = (int8_t)moved;
        saturated += moved == 127 || moved == -127 ? 1u : 0u;
    }
    return saturated;
}

#if MG_ARMV7EM

/* n of them, a multiple of four, where acc * factor is finite; hash: key + 0x9E3779B9 * index. */
uint32_t mg_step_blocks_armv7em(const float *acc, int32_t n, const float *factor, uint32_t hash, int8_t *w);

MG_COLD
uint32_t mg_step_weights_s8(const float *restrict acc, int32_t n, const float *factor, uint32_t key, uint32_t index,
                            int8_t *restrict w) {
    const int32_t done = mg_abs_f32(*factor) < 0x1p90f ? n & ~3 : 0;
    uint32_t saturated = 0;
    if (done > 0) {
        saturated = mg_step_blocks_armv7em(acc, done, factor, key + 0x9E3779B9u * index, w);
    }
    if (done < n) {
        saturated += step_each(acc + done, n - done, *factor, key, index + (uint32_t)done, w + done);
    }
    return saturated;
}

#else

uint32_t mg_step_weights_s8(const float *restrict acc, int32_t n, const float *factor, uint32_t key, uint32_t index,
                            int8_t *restrict w) {
    return step_each(acc, n, *factor, key, index, w);
}

#endif
