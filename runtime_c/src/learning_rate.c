/* The learning rate of a planned run. */
#include "mg_internal.h"

MG_COLD
float mg_learning_rate(mg_schedule_t kind, float base, uint32_t step, uint32_t total) {
    if (kind == MG_CONSTANT || total == 0) {
        return base;
    }
    uint32_t last = step < total ? step : total - 1;
    float left = 1.0f - (float)last / (float)total;
    if (kind == MG_LINEAR) {
        return base * left;
    }
    /* (1 + cos(pi (1 - left))) / 2 = sin^2(pi / 2 left): no cancellation where the rate is small */
    float z = left * left;
    float p = 0x1.3daff6p-13f;
    p = p * z - 0x1.324ccap-8f;
    p = p * z + 0x1.4668b0p-4f;
    p = p * z - 0x1.4abbc2p-1f;
    p = p * z + 0x1.921fb6p+0f;
    float sine = left * p;
    return base * (sine * sine);
}
