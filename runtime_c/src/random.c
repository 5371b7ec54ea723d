/* Counter-based random numbers: every execution draws the same u for the same (seed, step, tensor, element). */
#include "mg_internal.h"

MG_COLD
uint32_t mg_random_key(const mg_random_t *r) {
    return mg_mix(mg_mix(r->seed + 0x9E3779B9u * r->step) ^ (0x85EBCA6Bu * r->tensor));
}

float mg_random_uniform(uint32_t key, uint32_t i) { return mg_uniform(key, i); }
