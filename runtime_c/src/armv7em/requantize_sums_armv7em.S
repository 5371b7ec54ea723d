/* int32 sums onto an int8 grid: the contract is in mg_depthwise.h. 51 instructions for eight outputs where zero is -128 and the
 * grid all of int8, 58 where zero is another, and ten more where the grid is narrower.
 * vcvtr rounds to even and saturates to int32, and clamping after it equals the contract's clamping before. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
    .syntax unified
    .thumb

t       .req r0
grid    .req r0             /* 0: all of int8, zero -128; 1: all of int8; 2: narrower */
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

/* The same where zero is -128. */
.macro merge_from_0 a, b, c, d
    .irp v, \a, \b, \c, \d
    usat    \v, #8, \v
    .endr
    orr     \a, \a, \b, lsl #8
    orr     \a, \a, \c, lsl #16
    orr     \a, \a, \d, lsl #24
    eor     \a, \a, #0x80808080
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
    cmp     grid, #2
    bne     9f
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
    adds    grid, zero, #128            /* whether zero is -128 */
    it      ne
    movne   grid, #1
    cmp     lr, #255
    beq     1f
    mov     grid, #2
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
    cmp     grid, #1
    bhs     8f
    merge_from_0 r4, r5, r6, r7
    merge_from_0 r8, r9, r10, r11
0:  str     r4, [y], #4
    str     r8, [y], #4
    subs    n, n, #8
    bge     3b
4:  adds    n, n, #8                    /* so many are left; sums of a row end at a multiple of four */
    beq     7f
5:  four
    subs    n, n, #4
    blt     10f
    str     r4, [y], #4
    bne     5b
    b       7f
10: adds    n, n, #4
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

8:  merge   r4, r5, r6, r7
    merge   r8, r9, r10, r11
    beq     0b                          /* flags of the comparison with 1 */
    ldrd    r5, r6, [sp, #LIMITS]
    clamp   r4
    clamp   r8
    b       0b
    .size mg_requantize_sums, . - mg_requantize_sums
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
