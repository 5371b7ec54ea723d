/* mg_weight_pairs_s8 for cores with the DSP extension.
 *
 * void mg_weight_pairs_s8(const int8_t *even, const int8_t *odd, int32_t n, int8_t *to); mg_panel.h has the contract.
 * 13 instructions for four taps of two channels; the rows are read by unaligned words.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

even    .req    r0
odd     .req    r1
left    .req    r2
to      .req    r3

        .section .text.mg_weight_pairs_s8, "ax", %progbits
        .balign 4
        .global mg_weight_pairs_s8
        .type   mg_weight_pairs_s8, %function
        .thumb_func
mg_weight_pairs_s8:
        push    {r4-r7}
        subs    left, left, #4
        blt     .Llast
.Lfour:
        ldr     r4, [even], #4
        ldr     r5, [odd], #4
        uxtb16  r6, r4                          @ taps 0 and 2
        uxtb16  r7, r5
        uxtb16  r4, r4, ror #8                  @ 1 and 3
        uxtb16  r5, r5, ror #8
        orr     r6, r6, r7, lsl #8
        orr     r7, r4, r5, lsl #8
        pkhbt   r4, r6, r7, lsl #16
        pkhtb   r5, r7, r6, asr #16
        strd    r4, r5, [to], #8
        subs    left, left, #4
        bge     .Lfour
.Llast:
        adds    left, left, #4
        beq     .Ldone
        mov     r7, left
.Lone:
        ldrb    r4, [even], #1
        ldrb    r5, [odd], #1
        orr     r4, r4, r5, lsl #8
        strh    r4, [to], #2
        subs    left, left, #1
        bne     .Lone
        tst     r7, #1
        it      ne
        strhne  left, [to]                      @ an odd tap, beside one of zeros
.Ldone:
        pop     {r4-r7}
        bx      lr
        .size   mg_weight_pairs_s8, . - mg_weight_pairs_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
