/* Tap sums of square depthwise windows of 3, 5 and 7 over a widened plane, stride 1 or 2 along the row, dilation 1:
 * called by depthwise_sums.c with the arguments of mg_depthwise_sums (mg_depthwise.h).
 *
 * Weights are widened once a call to pairs of neighbours: even (w0,w1), (w2,w3), .. and odd (w1,w2), (w3,w4), ...
 * An output in an even column of the plane takes its row by the even pairs and the last odd one's top half (SMLABT), one in
 * an odd column (stride 1) by the first even one's bottom half (SMLATB) and the odd pairs: no shifted copy of the plane.
 * 3x3 with stride 2 takes a plane in groups, half as dear to widen, and has a pair (w0,w2) and w1 a row of weights.
 * Instructions for four outputs (their MACs), stride 1 and 2: 3x3 35, 44 (36); 5x5 81, 86 (100); 7x7 149, 156 (196). */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
    .syntax unified
    .thumb

.equ PITCH, 80              /* bytes of a row of the plane: MG_PLANE_PITCH */
.equ WIDE_PITCH, 144        /* MG_WIDE_PITCH */

/* The frame, below the registers: words from sp on; the weights of 5x5 and 7x7 lie behind. */
.equ F_SKIP, 0              /* bytes from the end of a row of quads to the next */
.equ F_END, 4               /* of the plane: where a row after the last one would begin */
.equ F_QUADS, 8
.equ F_BIAS, 12
.equ F_SUMS, 16             /* 7x7, which has no register left */
.equ F_COUNT, 20
.equ F_WEIGHTS, 24

plane   .req r0
x0      .req r2             /* two neighbours of a row */
x1      .req r3

/* What the frame holds. r0: t, leaves r0: plane; r2: weights and r3: sums stay. step: bytes of the plane a quad. */
.macro enter frame, step
    push    {r4-r11, lr}
    sub     sp, sp, #\frame
    ldm     r0, {r4-r7}                 /* rows, quads, bias, row_step (in elements) */
    lsl     r7, r7, #1
    mla     r4, r4, r7, r1
    sub     r7, r7, r5, lsl #\step
    strd    r7, r4, [sp, #F_SKIP]
    strd    r5, r6, [sp, #F_QUADS]
    mov     plane, r1
.endm

/* After a row of quads: to the next one, or out. */
.macro next_row again, frame
    ldrd    r2, r3, [sp, #F_SKIP]
    add     plane, plane, r2
    cmp     plane, r3
    bne     \again
    add     sp, sp, #\frame
    pop     {r4-r11, pc}
.endm

.macro function name
    .section .text.\name, "ax", %progbits
    .balign 4
    .global \name
    .type \name, %function
\name:
.endm

/* ---- 3x3, stride 1: the weights stay in registers ------------------------------------------------------------ */

sums    .req r1
bias    .req r10
sum0      .req r11
sum1      .req r12
quads   .req lr

/* r4, r5: (w0,w1), (w1,w2) of the first row; r6, r7 and r8, r9 of the others. r2: the nine weights, r3: sums. */
.macro weights3
    ldr     r10, [r2]                   /* w0..w3 */
    ldr     r11, [r2, #3]               /* w3..w6 */
    ldr     r12, [r2, #5]               /* w5..w8: reads no further than the weights go */
    sxtb16  r4, r10                     /* w0, w2 */
    sxtb16  r5, r10, ror #8             /* w1, w3 */
    sxtb16  r6, r11
    sxtb16  r7, r11, ror #8
    sxtb16  r8, r12                     /* w5, w7 */
    sxtb16  r9, r12, ror #8             /* w6, w8 */
    pkhbt   r10, r4, r5, lsl #16
    pkhbt   r5, r5, r4
    pkhbt   r11, r6, r7, lsl #16
    pkhbt   r7, r7, r6
    pkhbt   r12, r9, r8
    pkhtb   r9, r9, r8, asr #16
    mov     r4, r10
    mov     r6, r11
    mov     r8, r12
    mov     sums, r3
    ldr     bias, [sp, #F_BIAS]
.endm

/* One row of two outputs: pairs (e, o); the accumulators start at i0, i1. */
.macro row3 at, e, o, i0, i1
    ldrd    x0, x1, [plane, #\at]
    smlad   sum0, x0, \e, \i0
    smlatb  sum1, x0, \e, \i1
    smlabt  sum0, x1, \o, sum0
    smlad   sum1, x1, \o, sum1
.endm

.macro two3 at, pitch
    row3    \at, r4, r5, bias, bias
    row3    (\at + \pitch), r6, r7, sum0, sum1
    row3    (\at + 2 * \pitch), r8, r9, sum0, sum1
    strd    sum0, sum1, [sums], #8
.endm

.macro window3s1 name, pitch
    function \name
    enter   F_SUMS, 3
    weights3
1:  ldr     quads, [sp, #F_QUADS]
2:  two3    0, \pitch
    two3    4, \pitch
    adds    plane, plane, #8
    subs    quads, quads, #1
    bne     2b
    next_row 1b, F_SUMS
    .size \name, . - \name
.endm

    window3s1 mg_depthwise_sums_3s1, PITCH
    window3s1 mg_depthwise_sums_wide_3s1, WIDE_PITCH

/* ---- 3x3, stride 2, a plane in groups: four outputs at a time ------------------------------------------------- */

/* r4-r7: four accumulators */
sides0  .req r8             /* (w0,w2) of a row of weights, and of the others */
sides1  .req r9
sides2  .req r10
middle0 .req r11            /* bottom: w1 */
middles .req r12            /* w4, w7 */

.macro weights3s2
    ldr     r4, [r2]                    /* w0..w3 */
    ldr     r5, [r2, #3]                /* w3..w6 */
    ldr     r6, [r2, #5]                /* w5..w8 */
    sxtb16  sides0, r4
    sxtb16  middle0, r4, ror #8         /* w1, w3 */
    sxtb16  sides1, r5
    sxtb16  middles, r5, ror #8         /* w4, w6 */
    sxtb16  sides2, r6, ror #8
    sxtb16  r6, r6                      /* w5, w7 */
    pkhbt   middles, middles, r6
    mov     sums, r3
.endm

/* One row of four outputs: \half of \middle is w1; the accumulators start at i0..i3. A group is two words, (x0,x2) and
 * (x1,x3), and an output's window begins with a group's last column or with its second one. */
.macro row3s2 at, sides, middle, half, i0, i1, i2, i3
    ldrd    x0, x1, [plane, #\at + 8]
    smlab\half r4, x0, \middle, \i0
    smlat\half r5, x0, \middle, \i1
    ldr     x0, [plane, #\at + 4]
    smlabt  r4, x1, \sides, r4
    smlad   r5, x1, \sides, r5
    smlatb  r6, x1, \sides, \i2
    smlatb  r4, x0, \sides, r4
    ldrd    x0, x1, [plane, #\at + 16]
    smlab\half r6, x0, \middle, r6
    smlat\half r7, x0, \middle, \i3
    smlabt  r6, x1, \sides, r6
    smlad   r7, x1, \sides, r7
.endm

.macro window3s2 name, pitch
    function \name
    enter   F_SUMS, 4
    weights3s2
1:  ldr     quads, [sp, #F_QUADS]
2:  ldr     r7, [sp, #F_BIAS]
    row3s2  0, sides0, middle0, b, r7, r7, r7, r7
    row3s2  \pitch, sides1, middles, b, r4, r5, r6, r7
    row3s2  (2 * \pitch), sides2, middles, t, r4, r5, r6, r7
    stm     sums!, {r4-r7}
    adds    plane, plane, #16
    subs    quads, quads, #1
    bne     2b
    next_row 1b, F_SUMS
    .size \name, . - \name
.endm

    window3s2 mg_depthwise_sums_3s2, PITCH
    window3s2 mg_depthwise_sums_wide_3s2, WIDE_PITCH

/* ---- 5x5: a row of weights in registers, four outputs at a time ---------------------------------------------- */

.equ FRAME5, F_WEIGHTS + 5 * 16
/* r4-r7: four accumulators; r8-r11: (w0,w1), (w2,w3), (w1,w2), (w3,w4) */
w       .req r1

/* The 5 x 5 bytes at r2, widened to the frame. */
.macro weights5
    add     w, sp, #F_WEIGHTS
    mov     lr, #5
0:  ldr     r4, [r2]
    ldr     r5, [r2, #1]
    adds    r2, r2, #5
    sxtb16  r6, r4                      /* w0, w2 */
    sxtb16  r7, r4, ror #8              /* w1, w3 */
    sxtb16  r12, r5, ror #8             /* w2, w4 */
    pkhbt   r8, r6, r7, lsl #16
    pkhtb   r9, r7, r6, asr #16
    pkhbt   r10, r7, r6
    pkhtb   r11, r12, r7, asr #16
    stm     w!, {r8-r11}
    subs    lr, lr, #1
    bne     0b
.endm

/* One row of four outputs; the accumulators start at i0..i3. */
.macro row5s1 at, i0, i1, i2, i3
    ldm     w!, {r8-r11}
    ldrd    x0, x1, [plane, #\at]
    smlad   r4, x0, r8, \i0
    smlatb  r5, x0, r8, \i1
    smlad   r4, x1, r9, r4
    smlad   r5, x1, r10, r5
    smlad   r6, x1, r8, \i2
    smlatb  r7, x1, r8, \i3
    ldrd    x0, x1, [plane, #\at + 8]
    smlabt  r4, x0, r11, r4
    smlad   r5, x0, r11, r5
    smlad   r6, x0, r9, r6
    smlad   r7, x0, r10, r7
    smlabt  r6, x1, r11, r6
    smlad   r7, x1, r11, r7
.endm

.macro row5s2 at, i0, i1, i2, i3
    ldm     w!, {r8-r11}
    ldrd    x0, x1, [plane, #\at]
    smlad   r4, x0, r8, \i0
    smlad   r4, x1, r9, r4
    smlad   r5, x1, r8, \i1
    ldrd    x0, x1, [plane, #\at + 8]
    smlabt  r4, x0, r11, r4
    smlad   r5, x0, r9, r5
    smlad   r6, x0, r8, \i2
    smlabt  r5, x1, r11, r5
    smlad   r6, x1, r9, r6
    smlad   r7, x1, r8, \i3
    ldrd    x0, x1, [plane, #\at + 16]
    smlabt  r6, x0, r11, r6
    smlad   r7, x0, r9, r7
    smlabt  r7, x1, r11, r7
.endm

.macro window5 name, stride
    function \name
    enter   FRAME5, (2 + \stride)
    weights5
    mov     r12, r3
1:  ldr     lr, [sp, #F_QUADS]
2:  add     w, sp, #F_WEIGHTS
    ldr     r7, [sp, #F_BIAS]
    row5s\stride 0, r7, r7, r7, r7
    .irp    ky, 1, 2, 3, 4
    row5s\stride (\ky * PITCH), r4, r5, r6, r7
    .endr
    stm     r12!, {r4-r7}
    adds    plane, plane, #(8 * \stride)
    subs    lr, lr, #1
    bne     2b
    next_row 1b, FRAME5
    .size \name, . - \name
.endm

    window5 mg_depthwise_sums_5s1, 1
    window5 mg_depthwise_sums_5s2, 2

/* ---- 7x7: the same ------------------------------------------------------------------------------------------- */

.equ FRAME7, F_WEIGHTS + 7 * 24
/* r8-r12, lr: (w0,w1), (w2,w3), (w4,w5), (w1,w2), (w3,w4), (w5,w6) */

.macro weights7
    add     w, sp, #F_WEIGHTS
    mov     r3, #7
0:  ldr     r4, [r2]
    ldr     r5, [r2, #3]
    adds    r2, r2, #7
    sxtb16  r6, r4                      /* w0, w2 */
    sxtb16  r7, r4, ror #8              /* w1, w3 */
    sxtb16  r4, r5                      /* w3, w5 */
    sxtb16  r5, r5, ror #8              /* w4, w6 */
    pkhbt   r8, r6, r7, lsl #16
    pkhtb   r9, r7, r6, asr #16
    pkhbt   r10, r5, r4
    pkhbt   r11, r7, r6
    pkhbt   r12, r4, r5, lsl #16
    pkhtb   lr, r5, r4, asr #16
    stm     w!, {r8-r12, lr}
    subs    r3, r3, #1
    bne     0b
.endm

.macro row7s1 at, i0, i1, i2, i3
    ldm     w!, {r8-r12, lr}
    ldrd    x0, x1, [plane, #\at]
    smlad   r4, x0, r8, \i0
    smlatb  r5, x0, r8, \i1
    smlad   r4, x1, r9, r4
    smlad   r5, x1, r11, r5
    smlad   r6, x1, r8, \i2
    smlatb  r7, x1, r8, \i3
    ldrd    x0, x1, [plane, #\at + 8]
    smlad   r4, x0, r10, r4
    smlad   r5, x0, r12, r5
    smlad   r6, x0, r9, r6
    smlad   r7, x0, r11, r7
    smlabt  r4, x1, lr, r4
    smlad   r5, x1, lr, r5
    smlad   r6, x1, r10, r6
    smlad   r7, x1, r12, r7
    ldr     x0, [plane, #\at + 16]
    smlabt  r6, x0, lr, r6
    smlad   r7, x0, lr, r7
.endm

.macro row7s2 at, i0, i1, i2, i3
    ldm     w!, {r8-r12, lr}
    ldrd    x0, x1, [plane, #\at]
    smlad   r4, x0, r8, \i0
    smlad   r4, x1, r9, r4
    smlad   r5, x1, r8, \i1
    ldrd    x0, x1, [plane, #\at + 8]
    smlad   r4, x0, r10, r4
    smlad   r5, x0, r9, r5
    smlad   r6, x0, r8, \i2
    smlabt  r4, x1, lr, r4
    smlad   r5, x1, r10, r5
    smlad   r6, x1, r9, r6
    smlad   r7, x1, r8, \i3
    ldrd    x0, x1, [plane, #\at + 16]
    smlabt  r5, x0, lr, r5
    smlad   r6, x0, r10, r6
    smlad   r7, x0, r9, r7
    smlabt  r6, x1, lr, r6
    smlad   r7, x1, r10, r7
    ldr     x0, [plane, #\at + 24]
    smlabt  r7, x0, lr, r7
.endm

.macro window7 name, stride
    function \name
    enter   FRAME7, (2 + \stride)
    str     r3, [sp, #F_SUMS]
    weights7
1:  ldr     r2, [sp, #F_QUADS]
2:  str     r2, [sp, #F_COUNT]
    add     w, sp, #F_WEIGHTS
    ldr     r7, [sp, #F_BIAS]
    row7s\stride 0, r7, r7, r7, r7
    .irp    ky, 1, 2, 3, 4, 5, 6
    row7s\stride (\ky * PITCH), r4, r5, r6, r7
    .endr
    ldrd    r1, r2, [sp, #F_SUMS]       /* and the count */
    stm     r1!, {r4-r7}
    str     r1, [sp, #F_SUMS]
    adds    plane, plane, #(8 * \stride)
    subs    r2, r2, #1
    bne     2b
    next_row 1b, FRAME7
    .size \name, . - \name
.endm

    window7 mg_depthwise_sums_7s1, 1
    window7 mg_depthwise_sums_7s2, 2
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
