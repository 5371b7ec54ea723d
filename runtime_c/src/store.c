/* The epilogue of every backward kernel, and the delayed scale of what it stores. */
#include "mg_internal.h"

static float quantum_max(mg_dtype_t type) { return type == MG_S8 ? 127.0f : 32767.0f; }

/* acc in units of the output tensor, before its scale. */
static inline float epilogue(const mg_store_t *s, int32_t i, float acc, float mult) {
    float v = acc * s->base_scale;
    if (s->skip != NULL) {
        v = v + mg_load_error(s->skip, s->skip_type, i) * s->skip_scale;
    }
    if (s->mult != NULL) {
        v = v * mult;
    }
    if (s->mask != NULL) {
        int32_t y = s->mask[i];
        if (!(s->mask_min < y && y < s->mask_max)) {
            v = 0.0f;
        }
    }
    return v;
}

void mg_store_row(mg_store_t *s, int32_t c, int32_t i, int32_t step, const float *acc, int32_t n) {
    const float mult = s->mult != NULL ? s->mult[c] : 1.0f;
    const float inv_scale = s->inv_scale, q_max = quantum_max(s->out_type);
    const mg_dtype_t type = s->out_type;
    void *out = s->out;
    float absmax = s->absmax;
    uint32_t clipped = 0;
    for (int32_t k = 0; k < n; k++, i += step) {
        float v = epilogue(s, i, acc[k], mult), size = mg_abs_f32(v);
        absmax = size > absmax ? size : absmax;
        if (type == MG_F32) {
            ((float *)out)[i] = v;
            continue;
        }
        if (inv_scale == 0.0f) { /* a measuring pass: out may be the summand that the next pass reads again */
            continue;
        }
        float scaled = v * inv_scale;
        clipped += mg_abs_f32(scaled) > q_max ? 1u : 0u;
        int32_t q = mg_round_f32(mg_clamp_f32(scaled, -q_max, q_max));
        if (type == MG_S8) {
            ((int8_t *)out)[i] = (int8_t)q;
        } else {
            ((int16_t *)out)[i] = (int16_t)q;
        }
    }
    s->absmax = absmax;
    s->clipped += clipped;
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
