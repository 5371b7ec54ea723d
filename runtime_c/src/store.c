/* The epilogue of every backward kernel, and the delayed scale of what it stores. */
#include "error.inc"

static float quantum_max(mg_dtype_t type) { return type == MG_S8 ? 127.0f : 32767.0f; }

/* round(clamp(v, +-q_max)), counting what was clipped. */
static inline int32_t quantize(float v, float q_max, uint32_t *clipped) {
    if (mg_abs_f32(v) > q_max) {
        *clipped += 1u;
        v = v > 0.0f ? q_max : -q_max;
    }
    return mg_round_f32(v);
}

void mg_store_row(mg_store_t *s, int32_t c, int32_t i, int32_t step, const float *acc, int32_t n) {
    /* copied: stores to an int8 output could change the structure for all the compiler knows */
    const mg_store_t k = *s;
    const float mult = k.mult != NULL ? k.mult[c] : 1.0f, q_max = quantum_max(k.out_type);
    const bool measuring = k.inv_scale == 0.0f; /* out may be the summand that the next pass reads: leave it alone */
    float absmax = k.absmax;
    uint32_t clipped = k.clipped;
    for (const float *end = acc + n; acc != end; i += step) {
        float v = *acc++ * k.base_scale;
        if (k.skip != NULL) {
            v = v + mg_load_error(k.skip, k.skip_type, i) * k.skip_scale;
        }
        v = v * mult; /* by 1 changes nothing */
        if (k.mask != NULL) {
            const int32_t y = k.mask[i];
            v = y > k.mask_min && y < k.mask_max ? v : 0.0f;
        }
        if (k.mask_bits != NULL) {
            v = (k.mask_bits[i >> 3] >> (i & 7)) & 1 ? v : 0.0f;
        }
        const float size = mg_abs_f32(v);
        absmax = size > absmax ? size : absmax;
        if (k.out_type == MG_F32) {
            ((float *)k.out)[i] = v;
        } else if (!measuring) {
            const int32_t q = quantize(v * k.inv_scale, q_max, &clipped);
            if (k.out_type == MG_S8) {
                ((int8_t *)k.out)[i] = (int8_t)q;
            } else {
                ((int16_t *)k.out)[i] = (int16_t)q;
            }
        }
    }
    s->absmax = absmax;
    s->clipped = clipped;
}

void mg_store(mg_store_t *s, int32_t c, int32_t i, float acc) { mg_store_row(s, c, i, 1, &acc, 1); }

float mg_pow2ceil_f32(float v) {
    uint32_t bits = mg_bits(v > 0x1p-100f ? v : 0x1p-100f);
    return mg_from_bits(((bits >> 23) + ((bits & 0x7FFFFFu) != 0 ? 1u : 0u)) << 23);
}

void mg_scale_predict(mg_store_t *s, float ratio, float g) {
    s->absmax = 0.0f;
    s->clipped = 0;
    if (s->out_type == MG_F32) {
        s->scale = s->inv_scale = 1.0f;
    } else if (ratio == 0.0f) {
        s->scale = s->inv_scale = 0.0f;
    } else {
        s->scale = mg_pow2ceil_f32((ratio * g) * (s->out_type == MG_S8 ? 1.0f / 127.0f : 1.0f / 32767.0f));
        s->inv_scale = 1.0f / s->scale;
    }
}

bool mg_scale_observe(mg_store_t *s, float *ratio, float g) {
    if (s->out_type == MG_F32) {
        return false;
    }
    float seen = s->absmax / g, decayed = 0.99f * *ratio;
    bool measured = *ratio == 0.0f && seen > 0.0f;
    *ratio = seen > decayed ? seen : decayed;
    return measured;
}
