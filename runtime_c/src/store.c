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

/* Any row, one element after the other. */
static void store_each(mg_store_t *s, int32_t c, int32_t i, int32_t step, const float *acc, int32_t n) {
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

#if MG_ARMV7EM

/* A row of int8 as the assembly stores it, in blocks of eight; it knows the offsets of these fields.
 * 1/scale is a power of two, so v * inv_scale = (acc * base + skip * skip_scale) * (mult * inv_scale), and where nothing
 * is added in between a power of two in base goes into the last factor as well. */
typedef struct {
    const float *acc;
    int8_t *out;
    const int8_t *skip;  /* or NULL */
    const uint8_t *mask; /* bytes or bits from the first element on, or NULL */
    int32_t blocks, separate; /* separate: multiply by base on its own */
    float base, skip_scale, scale;
    int32_t bit, next;     /* of bits: 16 less the first one's place in its byte, else 0; where from mask + 1 the last one is */
    uint32_t above, below; /* of bytes, four times each: the smallest and the largest that let an error through */
    uint32_t bound, span;  /* four times each: the largest |q| that changes neither absmax nor clipped, and twice that */
} blocks_t;

/* Stores blocks until one holds a |q| above the bound; returns how many are left, that one included. */
int32_t mg_store_blocks_armv7em(const blocks_t *b);

/* 2^-99 to 2^99: products of a few of these and of accumulators are exact where one factor is a power of two. */
static inline bool is_moderate(float v) { return ((mg_bits(v) >> 23) & 0xFFu) - 28u < 199u; }

static inline bool is_power_of_two(float v) { return (mg_bits(v) & 0x7FFFFFu) == 0 && is_moderate(v); }

/* Whether the tensor can be stored by blocks. Fills in what all its rows have in common, and the scale without mult. */
static inline bool is_plain(const mg_store_t *s, blocks_t *b) {
    if (s->out_type != MG_S8 || !is_power_of_two(s->inv_scale) || (s->skip != NULL && s->skip_type != MG_S8)) {
        return false;
    }
    if (s->mask != NULL) {
        if (s->mask_bits != NULL || s->mask_min < -128 || s->mask_min > 126 || s->mask_max > 127 || s->mask_max < -127) {
            return false;
        }
        b->above = (uint32_t)(uint8_t)(s->mask_min + 1) * 0x01010101u;
        b->below = (uint32_t)(uint8_t)(s->mask_max - 1) * 0x01010101u;
    }
    b->base = s->base_scale, b->skip_scale = s->skip_scale;
    b->separate = s->skip != NULL || !is_power_of_two(s->base_scale);
    b->scale = b->separate ? s->inv_scale : s->base_scale * s->inv_scale;
    return true;
}

/* From element i on. */
static inline void aim(const mg_store_t *s, int32_t i, const float *acc, int32_t blocks, blocks_t *b) {
    b->acc = acc, b->blocks = blocks;
    b->out = (int8_t *)s->out + i;
    b->skip = s->skip != NULL ? (const int8_t *)s->skip + i : NULL;
    b->mask = s->mask != NULL ? (const uint8_t *)s->mask + i : NULL, b->bit = 0;
    if (s->mask_bits != NULL) { /* a block ends in the byte of its last bit: nothing is read behind that */
        b->mask = s->mask_bits + (i >> 3), b->bit = 16 - (i & 7), b->next = (i & 7) != 0 ? 0 : -1;
    }
}

/* The largest |q| that changes nothing, since rounding is monotone and a smaller |q| comes from a smaller |v|; or -1. */
static inline int32_t harmless(const mg_store_t *s) {
    const float reach = s->absmax * s->inv_scale;
    return mg_round_f32(reach < 127.0f ? reach : 127.0f) - 1;
}

static void store_blocks(mg_store_t *s, blocks_t *b, int32_t c, int32_t i, const float *acc, int32_t n) {
    while (n >= 8) {
        const int32_t bound = harmless(s), blocks = n >> 3;
        int32_t left = blocks;
        if (bound >= 0) {
            aim(s, i, acc, blocks, b);
            b->bound = (uint32_t)bound * 0x01010101u, b->span = 2u * b->bound;
            left = mg_store_blocks_armv7em(b);
        }
        const int32_t done = 8 * (blocks - left);
        i += done, acc += done, n -= done;
        if (left > 0) {
            store_each(s, c, i, 1, acc, 8);
            i += 8, acc += 8, n -= 8;
        }
    }
    if (n > 0) {
        store_each(s, c, i, 1, acc, n);
    }
}

MG_COLD
void mg_store_rows(mg_store_t *s, int32_t c, int32_t i, const float *acc, int32_t n, int32_t rows) {
    blocks_t b;
    const bool blocks = n >= 8 && is_plain(s, &b);
    const float scale = blocks ? b.scale : 0.0f;
    for (; rows > 0; rows--, c++, i += n, acc += n) {
        b.scale = s->mult != NULL ? scale * s->mult[c] : scale;
        if (blocks && is_moderate(b.scale)) {
            store_blocks(s, &b, c, i, acc, n);
        } else {
            store_each(s, c, i, 1, acc, n);
        }
    }
}

#else

void mg_store_rows(mg_store_t *s, int32_t c, int32_t i, const float *acc, int32_t n, int32_t rows) {
    for (; rows > 0; rows--, c++, i += n, acc += n) {
        store_each(s, c, i, 1, acc, n);
    }
}

#endif

void mg_store_row(mg_store_t *s, int32_t c, int32_t i, int32_t step, const float *acc, int32_t n) {
    if (step == 1) {
        mg_store_rows(s, c, i, acc, n, 1);
    } else {
        store_each(s, c, i, step, acc, n);
    }
}

void mg_store(mg_store_t *s, int32_t c, int32_t i, float acc) { mg_store_row(s, c, i, 1, &acc, 1); }

MG_COLD
float mg_pow2ceil_f32(float v) {
    uint32_t bits = mg_bits(v > 0x1p-100f ? v : 0x1p-100f);
    return mg_from_bits(((bits >> 23) + ((bits & 0x7FFFFFu) != 0 ? 1u : 0u)) << 23);
}

MG_COLD
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

MG_COLD
bool mg_scale_observe(mg_store_t *s, float *ratio, float g) {
    if (s->out_type == MG_F32) {
        return false;
    }
    float seen = s->absmax / g, decayed = 0.99f * *ratio;
    bool measured = *ratio == 0.0f && seen > 0.0f;
    *ratio = seen > decayed ? seen : decayed;
    return measured;
}
