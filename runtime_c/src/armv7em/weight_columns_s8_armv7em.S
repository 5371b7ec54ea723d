/* mg_weight_columns_s8 for cores with the DSP extension.
 *
 *     void mg_weight_columns_s8(const int8_t *w, int32_t in_c, int32_t out_c, int32_t c, int16_t *to);
 *
 * mg_panel.h has the contract. Two neighbours of a row travel as a halfword; 7 instructions for two rows, and a loop's 2
 * for eight. The last of an odd number of channels goes byte by byte: nothing is read behind the weights.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

w       .req    r0
in_c    .req    r1              @ also the stride
left    .req    r2              @ output channels
channel .req    r3
to      .req    r12

.macro TWO_ROWS
        ldrh    r4, [w]
        ldrh    r5, [w, in_c]
        add     w, w, in_c, lsl #1
        orr     r5, r4, r5, lsl #16
        sxtb16  r4, r5
        sxtb16  r5, r5, ror #8
        strd    r4, r5, [to], #8
.endm

        .section .text.mg_weight_columns_s8, "ax", %progbits
        .balign 4
        .global mg_weight_columns_s8
        .type   mg_weight_columns_s8, %function
        .thumb_func
mg_weight_columns_s8:
        push    {r4, r5}
        ldr     to, [sp, #8]
        add     w, w, channel
        adds    channel, channel, #1
        cmp     channel, in_c
        beq     .Lalone
        subs    left, left, #8
        blt     .Lrest
.Leight:
        .rept   4
        TWO_ROWS
        .endr
        subs    left, left, #8
        bge     .Leight
.Lrest:
        adds    left, left, #6
        blt     .Lodd
.Ltwo:
        TWO_ROWS
        subs    left, left, #2
        bge     .Ltwo
.Lodd:
        adds    left, left, #2
        beq     .Ldone
        ldrh    r5, [w]                 @ beside a row of zeros
        sxtb16  r4, r5
        sxtb16  r5, r5, ror #8
        strd    r4, r5, [to]
        b       .Ldone
.Lalone:
        movs    r5, #0                  @ beside a channel of zeros
        subs    left, left, #2
        blt     .Llast
.Lbytes:
        ldrsb   r3, [w]
        ldrsb   r4, [w, in_c]
        add     w, w, in_c, lsl #1
        pkhbt   r4, r3, r4, lsl #16
        strd    r4, r5, [to], #8
        subs    left, left, #2
        bge     .Lbytes
.Llast:
        adds    left, left, #2
        beq     .Ldone
        ldrsb   r4, [w]
        uxth    r4, r4
        strd    r4, r5, [to]
.Ldone:
        pop     {r4, r5}
        bx      lr
        .size   mg_weight_columns_s8, . - mg_weight_columns_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
