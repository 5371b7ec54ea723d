/* mg_weight_columns_s8 for cores with the DSP extension.
 *
 *     void mg_weight_columns_s8(const int8_t *w, int32_t in_c, int32_t out_c, int32_t c, int8_t *to);
 *
 * mg_panel.h has the contract. Two neighbours of a row travel as a halfword; 5 instructions for two rows, and a loop's 2
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
        orr     r4, r4, r5, lsl #16
        str     r4, [to], #4
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
        ldrh    r4, [w]                 @ beside a channel of zeros
        str     r4, [to]
        b       .Ldone
.Lalone:
        and     r5, left, #1
.Lbyte:
        ldrb    r4, [w]
        add     w, w, in_c
        strh    r4, [to], #2
        subs    left, left, #1
        bne     .Lbyte
        cbz     r5, .Ldone
        strh    left, [to]              @ 0
.Ldone:
        pop     {r4, r5}
        bx      lr
        .size   mg_weight_columns_s8, . - mg_weight_columns_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
