/* Programs that run an assembly kernel and its portable twin on the same random input and compare what they write. The
 * twin comes from portable.c, which compiles the kernel's C under another name. */
#ifndef TWINS_H
#define TWINS_H

#include "error.inc"
#include "semihosting.h"

static uint32_t twins_state = 1u;

/* A number in [low, high]. */
static inline int32_t pick(int32_t low, int32_t high) {
    twins_state = twins_state * 1664525u + 1013904223u;
    return low + (int32_t)((twins_state >> 8) % (uint32_t)(high - low + 1));
}

static inline float pick_float(float low, float high) {
    return low + (high - low) * ((float)pick(0, 1 << 22) * 0x1p-22f);
}

static inline void pick_bytes(int8_t *to, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        to[i] = (int8_t)pick(-128, 127);
    }
}

/* Ends the program with the case that differs. */
static inline void expect_equal(const void *a, const void *b, size_t n, const char *what, int32_t trial) {
    if (memcmp(a, b, n) != 0) {
        char number[] = "trial 00000: ";
        for (int32_t at = 10; trial > 0; at--, trial /= 10) {
            number[at] = (char)('0' + trial % 10);
        }
        mg_semihosting_error(number);
        mg_semihosting_error(what);
        mg_semihosting_exit(1);
    }
}

#endif
