/* mg_weight_columns_of_pairs_s8 for cores with the DSP extension.
 *
 *     void mg_weight_columns_of_pairs_s8(const int8_t *w, int32_t in_c, int32_t out_c, int32_t c, int16_t *to);
 *
 * mg_panel.h has the contract. A word holds two channels on either side. 7 instructions for a word, and a loop's 2 for four.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

w       .req    r0
stride  .req    r1              @ bytes of a pair of output channels
left    .req    r2              @ output channels
to      .req    r12

.macro TURN
        ldr     r3, [w]
        add     w, w, stride
        sxtb16  r4, r3
        sxtb16  r3, r3, ror #8
        pkhbt   r5, r4, r3, lsl #16
        pkhtb   r3, r3, r4, asr #16
        strd    r5, r3, [to], #8
.endm

        .section .text.mg_weight_columns_of_pairs_s8, "ax", %progbits
        .balign 4
        .global mg_weight_columns_of_pairs_s8
        .type   mg_weight_columns_of_pairs_s8, %function
        .thumb_func
mg_weight_columns_of_pairs_s8:
        push    {r4, r5}
        ldr     to, [sp, #8]
        add     w, w, r3, lsl #1
        add     stride, stride, #1
        bic     stride, stride, #1
        lsl     stride, stride, #1
        subs    left, left, #8
        blt     .Lrest
.Lfour:
        .rept   4
        TURN
        .endr
        subs    left, left, #8
        bge     .Lfour
.Lrest:
        adds    left, left, #8
        ble     .Ldone
.Lword:
        TURN
        subs    left, left, #2
        bgt     .Lword
.Ldone:
        pop     {r4, r5}
        bx      lr
        .size   mg_weight_columns_of_pairs_s8, . - mg_weight_columns_of_pairs_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
