/* mg_sum_s8 for cores with the DSP extension.
 *
 *     int32_t mg_sum_s8(const int8_t *e, int32_t n);
 *
 * 3 instructions for four: with its sign bit turned a byte is 128 more, as an unsigned one, and USADA8 sums four of those.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

e       .req    r0
left    .req    r1
sum     .req    r2
zero    .req    r3

.macro FOUR
        ldr     r12, [e], #4
        eor     r12, r12, #0x80808080
        usada8  sum, r12, zero, sum
.endm

        .section .text.mg_sum_s8, "ax", %progbits
        .balign 4
        .global mg_sum_s8
        .type   mg_sum_s8, %function
        .thumb_func
mg_sum_s8:
        movs    zero, #0
        rsb     sum, zero, left, lsl #7
        rsbs    sum, sum, #0            @ -128 for each
        subs    left, left, #16
        blt     .Lrest
.Lsixteen:
        .rept   4
        FOUR
        .endr
        subs    left, left, #16
        bge     .Lsixteen
.Lrest:
        adds    left, left, #12
        blt     .Lbytes
.Lfour:
        FOUR
        subs    left, left, #4
        bge     .Lfour
.Lbytes:
        adds    left, left, #4
        beq     .Ldone
.Lbyte:
        ldrb    r12, [e], #1
        eor     r12, r12, #0x80
        add     sum, sum, r12
        subs    left, left, #1
        bne     .Lbyte
.Ldone:
        mov     r0, sum
        bx      lr
        .size   mg_sum_s8, . - mg_sum_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
