/* Which taps of a strided window reach an input position: for gradients by the input. Not a public header. */
#ifndef MG_REACH_H
#define MG_REACH_H

#include "mg_internal.h"

/* Of input position p (padding added), as a progression: tap k = k + t * k_step reads
 * output o - t * o_step, t in [0, n). k grows with t, o falls. Outputs may lie outside the tensor. */
typedef struct {
    int32_t k, k_step, n, o, o_step;
} mg_reach_t;

mg_reach_t mg_reach(int32_t p, int32_t taps, int32_t stride, int32_t dilation);

/* The t of r whose output lies in [0, count). */
mg_range_t mg_reach_inside(const mg_reach_t *r, int32_t count);

/* Both of one position, for kernels that hold those of MG_COLUMNS neighbours while they walk the channels. */
enum { MG_COLUMNS = 8 };

typedef struct {
    mg_reach_t at;
    mg_range_t inside;
} mg_reached_t;

mg_reached_t mg_reached(int32_t p, int32_t taps, int32_t stride, int32_t dilation, int32_t count);

#endif
