/* The tap sums of a depthwise convolution over a widened plane. */
#include "mg_depthwise.h"

bool mg_depthwise_knows(int32_t square) {
#if MG_ARMV7EM
    switch (square) {
#define WINDOW(known, call) case known:
#include "depthwise_windows.inc"
#undef WINDOW
        return true;
    default: break;
    }
#endif
    (void)square;
    return false;
}

void mg_depthwise_sums(const mg_depthwise_taps_t *t, const int16_t *restrict plane, const int8_t *restrict w,
                       int32_t *restrict sums) {
#if MG_ARMV7EM
    switch (t->square) {
#define WINDOW(known, call) case known: call; return;
#include "depthwise_windows.inc"
#undef WINDOW
    default: __builtin_trap(); /* emit/windows.py has overlooked it */
    }
#else
    mg_depthwise_sums_any(t, plane, w, sums);
#endif
}
