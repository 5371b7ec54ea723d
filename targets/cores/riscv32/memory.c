/* What a model calls of a C library, and what GCC makes of loops by itself: Debian's RISC-V GCC comes without a library. Bytes at first and last, words between where both ends allow it. */
#include <stdint.h>
#include <string.h>

/* Else GCC sees what these loops are and makes them call themselves. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")

static int aligned(const void *p) { return ((uintptr_t)p & 3u) == 0; }

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (aligned(t) && aligned(f)) {
        for (; n >= 4; n -= 4, t += 4, f += 4) *(uint32_t *)(void *)t = *(const uint32_t *)(const void *)f;
    }
    while (n--) *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t <= f) {
        while (n--) *t++ = *f++;
    } else {
        while (n--) t[n] = f[n];
    }
    return to;
}

void *memset(void *to, int value, size_t n) {
    unsigned char *t = to;
    const uint32_t word = 0x01010101u * (uint8_t)value;
    for (; n && !aligned(t); n--) *t++ = (uint8_t)value;
    for (; n >= 4; n -= 4, t += 4) *(uint32_t *)(void *)t = word;
    while (n--) *t++ = (uint8_t)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t n) {
    const unsigned char *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y) return *x - *y;
    return 0;
}

size_t strlen(const char *text) {
    size_t n = 0;
    while (text[n]) n++;
    return n;
}
