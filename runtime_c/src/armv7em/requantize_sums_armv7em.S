/* int32 sums onto an int8 grid: the contract is in mg_depthwise.h. 56 instructions for eight outputs, nine more where
 * y_min and y_max are narrower than int8.
 * vcvtr rounds to even and saturates to int32, and clamping after it equals the contract's clamping before. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
    .syntax unified
    .thumb

t       .req r0
narrow  .req r0             /* whether [min, max] is not all of int8 */
sums    .req r1
n       .req r2
y       .req r3
zero    .req r12
/* the outputs: r4-r11; lr: scratch; s0: the scale */

/* on the stack: what the rows share; min and max four times each */
.equ ROWS, 0
.equ COLUMNS, 4
.equ Y_SKIP, 8
.equ LIMITS, 12
.equ FRAME, 20

/* sN (int32) to round(sN * s0). */
.macro quantize s:vararg
    .irp v, \s
    vcvt.f32.s32 \v, \v
    .endr
    .irp v, \s
    vmul.f32 \v, \v, s0
    .endr
    .irp v, \s
    vcvtr.s32.f32 \v, \v
    .endr
.endm

/* Four int32 to four bytes in a. */
.macro merge a, b, c, d
    .irp v, \a, \b, \c, \d
    qadd    \v, \v, zero
    .endr
    .irp v, \a, \b, \c, \d
    ssat    \v, #8, \v
    .endr
    bfi     \a, \b, #8, #8
    bfi     \a, \c, #16, #8
    bfi     \a, \d, #24, #8
.endm

/* a into [min, max], by bytes; r5 min, r6 max. */
.macro clamp a
    ssub8   lr, \a, r5
    sel     \a, \a, r5
    ssub8   lr, r6, \a
    sel     \a, \a, r6
.endm

.macro four
    vldmia  sums!, {s8-s11}
    quantize s8, s9, s10, s11
    vmov    r4, r5, s8, s9
    vmov    r6, r7, s10, s11
    merge   r4, r5, r6, r7
    cbz     narrow, 9f
    ldrd    r5, r6, [sp, #LIMITS]
    clamp   r4
9:
.endm

    .section .text.mg_requantize_sums, "ax", %progbits
    .balign 4
    .global mg_requantize_sums
    .type mg_requantize_sums, %function
mg_requantize_sums:
    push    {r4-r11, lr}
    sub     sp, sp, #FRAME
    vldr    s0, [r2]
    ldm     t, {r4-r7, r8, r9}          /* rows, columns, y_row, zero, min, max */
    mov     zero, r7
    sub     r6, r6, r5                  /* y_skip */
    rsb     lr, r8, r9
    subs    narrow, lr, #255
    beq     1f
    uxtb    r8, r8                      /* to all four bytes */
    orr     r8, r8, r8, lsl #8
    orr     r8, r8, r8, lsl #16
    uxtb    r9, r9
    orr     r9, r9, r9, lsl #8
    orr     r9, r9, r9, lsl #16
1:  stm     sp, {r4-r6, r8, r9}
2:  ldr     n, [sp, #COLUMNS]
    subs    n, n, #8
    blt     4f
3:  vldmia  sums!, {s8-s15}
    quantize s8, s9, s10, s11, s12, s13, s14, s15
    vmov    r4, r5, s8, s9
    vmov    r6, r7, s10, s11
    vmov    r8, r9, s12, s13
    vmov    r10, r11, s14, s15
    merge   r4, r5, r6, r7
    merge   r8, r9, r10, r11
    cbz     narrow, 9f
    ldrd    r5, r6, [sp, #LIMITS]
    clamp   r4
    clamp   r8
9:  str     r4, [y], #4
    str     r8, [y], #4
    subs    n, n, #8
    bge     3b
4:  adds    n, n, #4                    /* n + 8 were left */
    blt     5f
    four
    str     r4, [y], #4
    subs    n, n, #4
5:  adds    n, n, #4
    beq     7f
    four                                /* the sums of a row end at a multiple of four */
6:  strb    r4, [y], #1
    lsr     r4, r4, #8
    subs    n, n, #1
    bne     6b
7:  ldrd    r4, r5, [sp, #COLUMNS]      /* columns, y_skip */
    add     y, y, r5
    ldr     r4, [sp, #ROWS]
    subs    r4, r4, #1
    str     r4, [sp, #ROWS]
    bne     2b
    add     sp, sp, #FRAME
    pop     {r4-r11, pc}
    .size mg_requantize_sums, . - mg_requantize_sums
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
