/* int32 sums to float32 where they are: the contract is in mg_depthwise.h. Eight instructions for four. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
    .syntax unified
    .thumb

to      .req r0
rows    .req r1
columns .req r2
from    .req r3
n       .req r4
excess  .req r5             /* bytes of what is converted behind a row's end */

    .section .text.mg_sums_to_float, "ax", %progbits
    .balign 4
    .global mg_sums_to_float
    .type mg_sums_to_float, %function
mg_sums_to_float:
    push    {r4, r5}
    mov     from, r0
    rsb     excess, columns, #0
    and     excess, excess, #3
    lsl     excess, excess, #2
1:  mov     n, columns
2:  vldmia  from!, {s0-s3}
    .irp    s, s0, s1, s2, s3
    vcvt.f32.s32 \s, \s
    .endr
    vstmia  to!, {s0-s3}                /* never behind `from` */
    subs    n, n, #4
    bgt     2b
    sub     to, to, excess              /* the next row, or nobody, writes over it */
    subs    rows, rows, #1
    bne     1b
    pop     {r4, r5}
    bx      lr
    .size mg_sums_to_float, . - mg_sums_to_float
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
