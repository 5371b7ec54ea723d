/* mg_weight_columns_of_pairs_s8 for cores with the DSP extension.
 *
 *     void mg_weight_columns_of_pairs_s8(const int8_t *w, int32_t in_c, int32_t out_c, int32_t c, int8_t *to);
 *
 * mg_panel.h has the contract. A word holds two channels on either side; its two bytes in the middle change places, which is
 * choosing them from the reversed word. 5 instructions for a word, and a loop's 2 for four.
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
        rev     r4, r3
        sel     r3, r3, r4
        str     r3, [to], #4
.endm

        .section .text.mg_weight_columns_of_pairs_s8, "ax", %progbits
        .balign 4
        .global mg_weight_columns_of_pairs_s8
        .type   mg_weight_columns_of_pairs_s8, %function
        .thumb_func
mg_weight_columns_of_pairs_s8:
        push    {r4}
        ldr     to, [sp, #4]
        add     w, w, r3, lsl #1
        add     stride, stride, #1
        bic     stride, stride, #1
        lsl     stride, stride, #1
        mov     r3, #0x90000            @ GE: bytes 0 and 3
        msr     APSR_g, r3
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
        pop     {r4}
        bx      lr
        .size   mg_weight_columns_of_pairs_s8, . - mg_weight_columns_of_pairs_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
