/* mg_expand_s8 for cores with the DSP extension.
 *
 * void mg_expand_s8(const int8_t *x, int32_t n, int32_t x_zero, int16_t *y); mg_panel.h has the contract. 8 instructions
 * for four elements; x is read by unaligned words.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

x       .req    r0
left    .req    r1
zero    .req    r2              @ -x_zero in both halves
y       .req    r3

        .section .text.mg_expand_s8, "ax", %progbits
        .balign 4
        .global mg_expand_s8
        .type   mg_expand_s8, %function
        .thumb_func
mg_expand_s8:
        push    {r4, r5}
        rsb     zero, zero, #0
        pkhbt   zero, zero, zero, lsl #16
        subs    left, left, #4
        blt     .Llast
.Lfour:
        ldr     r4, [x], #4
        sxtab16 r5, zero, r4                    @ elements 0 and 2
        sxtab16 r12, zero, r4, ror #8           @ 1 and 3
        pkhbt   r4, r5, r12, lsl #16
        pkhtb   r5, r12, r5, asr #16
        strd    r4, r5, [y], #8
        subs    left, left, #4
        bge     .Lfour
.Llast:
        adds    left, left, #4
        beq     .Ldone
.Lone:
        ldrsb   r4, [x], #1
        add     r4, r4, zero
        strh    r4, [y], #2
        subs    left, left, #1
        bne     .Lone
.Ldone:
        pop     {r4, r5}
        bx      lr
        .size   mg_expand_s8, . - mg_expand_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
