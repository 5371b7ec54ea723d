/* The border of Pad. */
#include "mg_internal.h"

void mg_fill_s8(int8_t *y, int32_t n, int8_t v) { memset(y, v, (size_t)n); }
