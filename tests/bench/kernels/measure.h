/* Programs that time calls of kernels: one number a line on stdout, in ticks of the board's timer. */
#ifndef MEASURE_H
#define MEASURE_H

#include "semihosting.h"
#include "timer.h"

#include <stddef.h>

static inline void measure(void (*const rows[])(void), size_t n) {
    const int32_t out = mg_semihosting_open_stdout();
    mg_timer_start();
    for (size_t i = 0; i < n; i++) {
        const uint32_t begin = mg_timer_ticks();
        rows[i]();
        uint32_t ticks = mg_timer_ticks() - begin;
        char text[] = "0000000000\n";
        for (size_t at = 10; at-- > 0; ticks /= 10) {
            text[at] = (char)('0' + ticks % 10);
        }
        mg_semihosting_write(out, text, sizeof text - 1);
    }
}

/* Any numbers: instructions do not depend on them. */
static inline void fill(void *to, size_t n) {
    uint32_t state = 1u;
    for (uint8_t *at = to; n > 0; n--) {
        state = state * 1664525u + 1013904223u;
        *at++ = (uint8_t)(state >> 24);
    }
}

#endif
