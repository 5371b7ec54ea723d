/* mg_rows_pair_s8 for cores with the DSP extension.
 *
 *     void mg_rows_pair_s8(const int8_t *first, const int8_t *second, int32_t n, int16_t *to);
 *
 * mg_wgrad.h has the contract. 9 instructions for four positions; rows are read by unaligned words, and their last one to
 * three positions byte by byte.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

first   .req    r0
second  .req    r1
left    .req    r2
to      .req    r3

@ Four positions of the rows in r5 and r7.
.macro WIDEN
        sxtb16  r4, r5                  @ positions 0 and 2
        sxtb16  r6, r5, ror #8          @ 1 and 3
        sxtb16  r5, r7
        sxtb16  r7, r7, ror #8
        stmia   to!, {r4-r7}
.endm

#include "row_tail_armv7em.inc"

        .section .text.mg_rows_pair_s8, "ax", %progbits
        .balign 4
        .global mg_rows_pair_s8
        .type   mg_rows_pair_s8, %function
        .thumb_func
mg_rows_pair_s8:
        push    {r4-r7}
        subs    left, left, #4
        blt     .Ltail
.Lfour:
        ldr     r5, [first], #4
        ldr     r7, [second], #4
        WIDEN
        subs    left, left, #4
        bge     .Lfour
.Ltail:
        cmp     left, #-4
        beq     .Ldone
        TAIL    r5, first
        TAIL    r7, second
        WIDEN
.Ldone:
        pop     {r4-r7}
        bx      lr
        .size   mg_rows_pair_s8, . - mg_rows_pair_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
