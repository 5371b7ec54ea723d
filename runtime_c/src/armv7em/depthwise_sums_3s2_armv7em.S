/* 3x3 windows, stride 2. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#include "depthwise_sums_armv7em.inc"
    window3s2 mg_depthwise_sums_3s2, PITCH
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
