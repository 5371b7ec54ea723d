/* mg_panel_pointwise_s8 for cores with the DSP extension.
 *
 * void mg_panel_pointwise_s8(const int8_t *x, int32_t channels, int32_t stride, int32_t x_zero, int16_t *panel);
 * mg_panel.h has the contract. 14 instructions for two channels of four positions; x is read by unaligned words.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

x       .req    r0
left    .req    r1              @ channels
stride  .req    r2
zero    .req    r3              @ -x_zero in both halves
panel   .req    r12

        .section .text.mg_panel_pointwise_s8, "ax", %progbits
        .balign 4
        .global mg_panel_pointwise_s8
        .type   mg_panel_pointwise_s8, %function
        .thumb_func
mg_panel_pointwise_s8:
        push    {r4-r9}
        ldr     panel, [sp, #24]
        rsb     zero, zero, #0
        pkhbt   zero, zero, zero, lsl #16
        subs    left, left, #2
        blt     .Llast
.Lpair:
        ldr     r4, [x]
        ldr     r5, [x, stride]
        add     x, x, stride, lsl #1
        sxtab16 r6, zero, r4                    @ first channel at positions 0 and 2
        sxtab16 r7, zero, r4, ror #8            @ 1 and 3
        sxtab16 r8, zero, r5                    @ second channel
        sxtab16 r9, zero, r5, ror #8
        pkhbt   r4, r6, r8, lsl #16
        pkhbt   r5, r7, r9, lsl #16
        pkhtb   r6, r8, r6, asr #16
        pkhtb   r7, r9, r7, asr #16
        stmia   panel!, {r4-r7}
        subs    left, left, #2
        bge     .Lpair
.Llast:
        adds    left, left, #2
        beq     .Ldone
        ldr     r4, [x]                         @ an odd channel, beside a tap of zeros
        sxtab16 r6, zero, r4
        sxtab16 r7, zero, r4, ror #8
        uxth    r4, r6
        uxth    r5, r7
        lsr     r6, r6, #16
        lsr     r7, r7, #16
        stmia   panel!, {r4-r7}
.Ldone:
        pop     {r4-r9}
        bx      lr
        .size   mg_panel_pointwise_s8, . - mg_panel_pointwise_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
