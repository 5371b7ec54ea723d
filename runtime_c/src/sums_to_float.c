/* int32 sums to float32 where they are. */
#include "mg_depthwise.h"

#if !MG_ARMV7EM
void mg_sums_to_float(int32_t *sums, int32_t rows, int32_t columns) {
    char *to = (char *)sums; /* bytes: the same memory is of two types here */
    for (int32_t r = 0; r < rows; r++, sums += (columns + 3) & ~3) {
        for (int32_t i = 0; i < columns; i++, to += sizeof(float)) {
            const float value = (float)sums[i];
            memcpy(to, &value, sizeof value);
        }
    }
}
#endif
