#include "fake.h"

extern const int8_t fake_weight[FAKE_OUTPUT_LEN * FAKE_INPUT_LEN];

const int8_t fake_weight[FAKE_OUTPUT_LEN * FAKE_INPUT_LEN] = {
    3, -5, 7, 1, -2, 4, 0, 6, -7, 2, 5, -1, -4, 2, 6,  -3, 1, 0, 5, -6, 2, 3, -2, 4,
    1, 5,  0, 2, 3, -1, 4, 2, -5, 6, 0, 1, 2, -3, -1, 4, 0, 5, -2, 1, 3, -4, 6, 2,
};
