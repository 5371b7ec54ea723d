/* 5x5 windows, stride 1. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#include "depthwise_sums_armv7em.inc"
    window5 mg_depthwise_sums_5s1, 1
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
