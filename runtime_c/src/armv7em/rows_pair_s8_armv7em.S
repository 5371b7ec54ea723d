/* mg_rows_pair_s8 for cores with the DSP extension.
 *
 *     void mg_rows_pair_s8(const int8_t *first, const int8_t *second, int32_t n, int8_t *to);
 *
 * mg_wgrad.h has the contract. 11 instructions for four positions; rows are read by unaligned words, and their last one to
 * three positions byte by byte.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

first   .req    r0
second  .req    r1
left    .req    r2
to      .req    r3

@ Four positions of the rows in r4 and r5.
.macro INTERLEAVE
        uxtb16  r6, r4
        uxtb16  r7, r5
        orr     r12, r6, r7, lsl #8
        uxtb16  r6, r4, ror #8
        eors    r5, r5, r7
        orrs    r6, r6, r5
        strd    r12, r6, [to], #8
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
        ldr     r4, [first], #4
        ldr     r5, [second], #4
        INTERLEAVE
        subs    left, left, #4
        bge     .Lfour
.Ltail:
        cmp     left, #-4
        beq     .Ldone
        TAIL    r4, first
        TAIL    r5, second
        INTERLEAVE
.Ldone:
        pop     {r4-r7}
        bx      lr
        .size   mg_rows_pair_s8, . - mg_rows_pair_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
