/* 7x7 windows, stride 2. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#include "depthwise_sums_armv7em.inc"
    window7 mg_depthwise_sums_7s2, 2
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
