/* mg_panel_taps_s8 for cores with the DSP extension.
 *
 * void mg_panel_taps_s8(const mg_taps_t *t, mg_line_t *lines, int16_t *panel); mg_panel.h has the contract.
 *
 * A word of x is one tap at four positions (stride 1), or two are (stride 2): 15 and 19 instructions for a pair of taps
 * at four positions, and 10 a row. Pairs go across rows, so the end of a row is met after either of their taps.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

        .equ    CHANNELS, 0             @ mg_taps_t
        .equ    ROWS, 4
        .equ    COLUMNS, 8
        .equ    STRIDE, 12
        .equ    X_ZERO, 16

@ Stack frame.
        .equ    LEFT_CHANNELS, 0
        .equ    LINES, 4
        .equ    FRAME, 8

x       .req    r0
panel   .req    r1
zero    .req    r2              @ -x_zero in both halves
left    .req    r3              @ columns of this row
lo0     .req    r8              @ the first tap: at positions 0 and 2, or 0 and 1
hi0     .req    r9              @ at 1 and 3, or 2 and 3
lo1     .req    r10             @ the second
hi1     .req    r11
line    .req    r12
lines   .req    lr              @ their end

@ The next tap at four positions.
.macro TAP lo, hi, stride
        ldr     r4, [x], #1
        sxtab16 \lo, zero, r4
        .if \stride == 1
        sxtab16 \hi, zero, r4, ror #8
        .else
        ldr     r5, [x, #2]
        sxtab16 \hi, zero, r5, ror #8
        .endif
        subs    left, left, #1
.endm

@ Goes to the next row, or to `last` after the last one.
.macro NEXT_ROW last
        cmp     line, lines
        bne     .Lsame_channel\@
        ldrd    r4, line, [sp, #LEFT_CHANNELS]  @ and LINES
        subs    r4, r4, #1
        beq     \last
        str     r4, [sp, #LEFT_CHANNELS]
.Lsame_channel\@:
        OPEN_ROW
.endm

.macro OPEN_ROW
        ldrd    x, r5, [line]
        add     r5, r5, x
        str     r5, [line], #8
        vmov    left, s0
.endm

@ All taps, and a tap of zeros beside an odd last one.
.macro WALK stride
.Lfirst\stride:
        TAP     lo0, hi0, \stride
        bne     .Lsecond\stride
        NEXT_ROW .Lodd\stride
.Lsecond\stride:
        TAP     lo1, hi1, \stride
        pkhbt   r4, lo0, lo1, lsl #16
        .if \stride == 1
        pkhbt   r5, hi0, hi1, lsl #16
        pkhtb   r6, lo1, lo0, asr #16
        .else
        pkhtb   r5, lo1, lo0, asr #16
        pkhbt   r6, hi0, hi1, lsl #16
        .endif
        pkhtb   r7, hi1, hi0, asr #16
        stmia   panel!, {r4-r7}
        bne     .Lfirst\stride
        NEXT_ROW .Ldone
        b       .Lfirst\stride
.Lodd\stride:
        uxth    r4, lo0
        .if \stride == 1
        uxth    r5, hi0
        lsr     r6, lo0, #16
        .else
        lsr     r5, lo0, #16
        uxth    r6, hi0
        .endif
        lsr     r7, hi0, #16
        stmia   panel!, {r4-r7}
        b       .Ldone
.endm

        .section .text.mg_panel_taps_s8, "ax", %progbits
        .balign 4
        .global mg_panel_taps_s8
        .type   mg_panel_taps_s8, %function
        .thumb_func
mg_panel_taps_s8:
        push    {r4-r11, lr}
        sub     sp, sp, #FRAME
        ldrd    r4, r5, [r0, #CHANNELS]         @ and ROWS
        strd    r4, r1, [sp, #LEFT_CHANNELS]    @ and LINES
        mov     line, r1
        add     lines, r1, r5, lsl #3
        ldrd    r6, r7, [r0, #COLUMNS]          @ and STRIDE
        ldr     r8, [r0, #X_ZERO]
        vmov    s0, r6
        mov     panel, r2
        rsb     zero, r8, #0
        pkhbt   zero, zero, zero, lsl #16
        OPEN_ROW
        cmp     r7, #1
        bne     .Lfirst2
        WALK    1
        WALK    2
.Ldone:
        add     sp, sp, #FRAME
        pop     {r4-r11, pc}
        .size   mg_panel_taps_s8, . - mg_panel_taps_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
