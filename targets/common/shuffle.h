/* The order of an epoch as a function, so that it needs no memory: position i of n maps to a record by a four-round
 * Feistel network on the next even number of bits, walked until it falls below n (at most four tries on average). */
#ifndef MG_SHUFFLE_H
#define MG_SHUFFLE_H

#include <stdint.h>

static inline uint32_t mg_shuffle_mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

static inline uint32_t mg_shuffle_key(uint32_t seed, uint32_t epoch) {
    return mg_shuffle_mix(mg_shuffle_mix(seed) + 0x9E3779B9u * (epoch + 1u));
}

/* i < n; n >= 1. For one key a permutation of 0 .. n-1. */
static inline uint32_t mg_shuffle(uint32_t key, uint32_t i, uint32_t n) {
    uint32_t half = 1;
    while (half < 16 && (n - 1u) >> (2u * half)) half++;
    const uint32_t mask = (1u << half) - 1u;
    do {
        uint32_t left = i >> half, right = i & mask;
        for (uint32_t round = 1; round <= 4; round++) {
            const uint32_t f = mg_shuffle_mix(key + 0x9E3779B9u * round + 0x85EBCA6Bu * right);
            const uint32_t next = (left ^ f) & mask;
            left = right;
            right = next;
        }
        i = (left << half) | right;
    } while (i >= n);
    return i;
}

#endif
