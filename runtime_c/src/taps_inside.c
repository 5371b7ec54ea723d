/* Which taps of a window lie inside: once for all kernels. */
#include "mg_internal.h"

mg_range_t mg_taps_inside(int32_t start, int32_t taps, int32_t dilation, int32_t size) {
    mg_range_t r = {0, taps};
    int32_t last = start + (taps - 1) * dilation;
    for (; r.begin < r.end && start < 0; start += dilation) {
        r.begin++;
    }
    for (; r.end > r.begin && last >= size; last -= dilation) {
        r.end--;
    }
    return r;
}
