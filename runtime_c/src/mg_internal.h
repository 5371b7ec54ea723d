/* Inline helpers that kernels share. Not a public header: emitted projects copy it beside the kernels they use. */
#ifndef MG_INTERNAL_H
#define MG_INTERNAL_H

#include "mcugrad.h"

#include <string.h>

/* Bit equality between compilers rests on IEEE arithmetic, one operation at a time. */
#if defined(__FAST_MATH__)
#error "mcugrad: build without -ffast-math and -Ofast; the kernels need IEEE float arithmetic"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "mcugrad: build for a little endian core; saved states and what a serial line carries are little endian"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__) && !defined(__STRICT_ANSI__) /* gcc contracts by default in its own dialects only */
#pragma GCC optimize("fp-contract=off")
#endif

/* Whether the assembly of armv7em/ is in charge: cores with the DSP extension and a float unit (Cortex-M4F, M7, M33). A
 * portable file with an assembly twin is empty there, and its twin elsewhere. MG_PORTABLE chooses C everywhere. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#define MG_ARMV7EM 1
#else
#define MG_ARMV7EM 0
#endif

/* Functions that stay functions of their own. Hot loops: inlined, they would share their registers with everything around
 * them. Others: what is called from several places is there once. */
#if defined(__GNUC__)
#define MG_HOT static __attribute__((noinline, hot))
#define MG_APART static __attribute__((noinline))
#else
#define MG_HOT static
#define MG_APART static
#endif

/* What hardly counts in a step's instructions is compiled for size, whatever the rest is compiled for. */
#if defined(__GNUC__)
#define MG_COLD __attribute__((cold))
#else
#define MG_COLD
#endif

/* A half-open range of window taps or of output positions. */
typedef struct {
    int32_t begin, end;
} mg_range_t;

static inline int32_t mg_min_i32(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t mg_max_i32(int32_t a, int32_t b) { return a > b ? a : b; }

/* ---- float32 by its bits ------------------------------------------------------------------------------------ */

static inline uint32_t mg_bits(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float mg_from_bits(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline float mg_abs_f32(float v) {
#if defined(__GNUC__)
    return __builtin_fabsf(v); /* one instruction, never a call */
#else
    return mg_from_bits(mg_bits(v) & 0x7FFFFFFFu);
#endif
}

/* NaN becomes lo: what follows converts to an integer, which NaN cannot be. */
static inline float mg_clamp_f32(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* Half to even, |v| <= 2^22: adding 1.5 * 2^23 leaves the integer in the low bits of the mantissa. */
static inline int32_t mg_round_f32(float v) { return (int32_t)(mg_bits(v + 12582912.0f) - 0x4B400000u); }

/* floor(clamp(v, +-1e9)): the step of an integer parameter. */
static inline int32_t mg_floor_step(float v) {
    float bounded = mg_clamp_f32(v, -1e9f, 1e9f);
    int32_t towards_zero = (int32_t)bounded;
    return towards_zero - ((float)towards_zero > bounded ? 1 : 0);
}

/* What the nearest multiple of 256 (halves up) leaves of v: in [-128, 127]. v + 128 must not overflow. */
static inline int32_t mg_rest(int32_t v) { return (int32_t)((uint32_t)(v + 128) & 255u) - 128; }

/* ---- onto an int8 grid -------------------------------------------------------------------------------------- */

typedef struct {
    float lo, hi;
    int32_t zero;
} mg_grid_t;

static inline mg_grid_t mg_grid(int32_t zero, int32_t min, int32_t max) {
    mg_grid_t grid = {(float)(min - zero), (float)(max - zero), zero};
    return grid;
}

static inline int8_t mg_to_grid(const mg_grid_t *grid, float v) {
    return (int8_t)(mg_round_f32(mg_clamp_f32(v, grid->lo, grid->hi)) + grid->zero);
}

/* ---- windows ------------------------------------------------------------------------------------------------ */

/* The taps k of [0, taps) with 0 <= start + k * dilation < size; begin == end if there is none. Without a division:
 * it steps over the taps outside only. */
mg_range_t mg_taps_inside(int32_t start, int32_t taps, int32_t dilation, int32_t size);

/* The positions o of [0, count) with 0 <= o * stride + offset < size. */
static inline mg_range_t mg_positions_inside(int32_t offset, int32_t stride, int32_t size, int32_t count) {
    mg_range_t r = {0, 0};
    if (offset < 0) {
        r.begin = mg_min_i32((stride - 1 - offset) / stride, count);
    }
    if (offset < size) {
        r.end = mg_min_i32((size - 1 - offset) / stride + 1, count);
    }
    r.end = mg_max_i32(r.begin, r.end);
    return r;
}

/* The positions at which a whole window of `taps` lies inside [0, size). */
static inline mg_range_t mg_whole_windows(int32_t pad, int32_t taps, int32_t stride, int32_t dilation, int32_t size,
                                          int32_t count) {
    mg_range_t first = mg_positions_inside(-pad, stride, size, count);
    mg_range_t last = mg_positions_inside((taps - 1) * dilation - pad, stride, size, count);
    first.end = mg_max_i32(first.begin, mg_min_i32(first.end, last.end));
    return first;
}

/* Each output reads the same position of the input, and no other. */
static inline bool mg_is_pointwise(const mg_conv2d_t *g) {
    return g->k_h == 1 && g->k_w == 1 && g->stride_h == 1 && g->stride_w == 1 && g->pad_top == 0 && g->pad_left == 0 &&
           g->in_h == g->out_h && g->in_w == g->out_w;
}

/* A pointwise convolution does not know rows: seen as one row of all positions, its inner loop is longest. */
static inline mg_conv2d_t mg_conv2d_rows(const mg_conv2d_t *g) {
    mg_conv2d_t flat = *g;
    if (mg_is_pointwise(g)) {
        flat.in_h = flat.out_h = 1;
        flat.in_w = flat.out_w = g->in_h * g->in_w;
    }
    return flat;
}

/* Where element i of a transposed tensor comes from. */
static inline int32_t mg_permuted(const mg_permute_t *g, int32_t i) {
    int32_t from = 0;
    for (int32_t axis = 4; axis >= 0; axis--) {
        const int32_t rest = i / g->shape[axis];
        from += (i - rest * g->shape[axis]) * g->stride[axis];
        i = rest;
    }
    return from;
}

/* ---- random numbers ----------------------------------------------------------------------------------------- */

/* A 32-bit integer hash (C. Wellons, "lowbias32"). */
static inline uint32_t mg_mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ (x >> 16);
}

static inline float mg_uniform(uint32_t key, uint32_t i) {
    return (float)(mg_mix(key + 0x9E3779B9u * i) >> 8) * 0x1p-24f;
}

#endif
