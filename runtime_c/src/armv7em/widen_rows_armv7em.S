/* Bytes to int16, less a zero point: the contract is in mg_depthwise.h. Eight elements take 16 instructions, in groups 9 or
 * 12, and a row some ten more, whole groups 5. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
    .syntax unified
    .thumb

t       .req r0
rest    .req r0             /* what is left of a row */
x       .req r1
to      .req r2
rows    .req r3
columns .req r4
x_skip  .req r5             /* bytes from the end of a row to the next */
to_skip .req r6
zero    .req r7             /* -zero in both halves */
n       .req r8
word    .req r9
even    .req r10
odd     .req r11
eights  .req r12
back    .req lr             /* elements that the last four of a row share with those before */

/* Four bytes to four int16 (aligned to 2, so no strd). Flags stay. */
.macro widen_four
    ldr     word, [x], #4
    sxtab16 even, zero, word            /* x0, x2 */
    sxtab16 odd, zero, word, ror #8     /* x1, x3 */
    pkhbt   word, even, odd, lsl #16
    pkhtb   even, odd, even, asr #16
    str     word, [to], #4
    str     even, [to], #4
.endm

.macro widen_last
    sub     x, x, back
    sub     to, to, back, lsl #1
    widen_four
.endm

.macro next_row again
    add     x, x, x_skip
    add     to, to, to_skip
    subs    rows, rows, #1
    bne     \again
    pop     {r4-r11, pc}
.endm

    .section .text.mg_widen_rows, "ax", %progbits
    .balign 4
    .global mg_widen_rows
    .type mg_widen_rows, %function
mg_widen_rows:
    push    {r4-r11, lr}
    ldm     t, {rows, columns, x_skip, to_skip, zero, n, word}    /* groups, group_column */
    rsb     zero, zero, #0
    pkhbt   zero, zero, zero, lsl #16
    sub     x_skip, x_skip, columns
    sub     to_skip, to_skip, columns
    lsl     to_skip, to_skip, #1
    cmp     n, #0
    bne     .Lgroups
    and     back, columns, #3
    rsb     back, back, #4
    and     rest, columns, #7
    cmp     columns, #8
    blt     6f
    lsr     eights, columns, #3
1:  mov     n, eights
2:  widen_four
    widen_four
    subs    n, n, #1
    bne     2b
    cbz     rest, 5f
    lsls    n, rest, #30                /* carry: four more; not zero: and then some */
    bcc     4f
    widen_four
4:  beq     5f
    widen_last
5:  next_row 1b

6:  and     rest, columns, #3
    cmp     columns, #4
    blt     9f
7:  widen_four
    cbz     rest, 8f
    widen_last
8:  next_row 7b

9:  movs    n, columns                  /* one to three, or none */
    beq     11f
10: ldrsb   word, [x], #1
    add     word, word, zero
    strh    word, [to], #2
    subs    n, n, #1
    bne     10b
11: next_row 9b

/* ---- in groups of four columns: (x0,x2), (x1,x3) -------------------------------------------------------------- */

lead    .req r4             /* columns of the group in which a row begins, if not with its first */
fours   .req r12            /* groups after it */

/* The next column to where it has its place in a group. */
.macro widen_one at
    ldrsb   word, [x], #1
    add     word, word, zero
    strh    word, [to, #\at]
.endm

.Lgroups:
    orr     n, word, columns
    lsls    n, n, #29
    bne     13f
    lsr     eights, columns, #3
12: mov     r0, eights                  /* rows of whole groups, an even number of them */
0:  ldr     r8, [x], #4
    ldr     r10, [x], #4
    sxtab16 r9, zero, r8, ror #8
    sxtab16 r8, zero, r8
    sxtab16 r11, zero, r10, ror #8
    sxtab16 r10, zero, r10
    stm     to!, {r8-r11}
    subs    r0, r0, #1
    bne     0b
    next_row 12b

13: rsb     n, word, #4                   /* any other rows */
    ands    n, n, #3
    sub     fours, columns, n
    and     rest, fours, #3
    lsr     fours, fours, #2
    mov     lead, n
    add     n, n, rest
    it      ne
    subne   n, n, #4
    add     to_skip, to_skip, n, lsl #1
14: cbz     lead, 17f
    cmp     lead, #2
    blt     16f
    beq     15f
    widen_one 4
15: widen_one 2
16: widen_one 6
    adds    to, to, #8
17: movs    n, fours
    beq     19f
18: ldr     even, [x], #4
    sxtab16 odd, zero, even, ror #8
    sxtab16 even, zero, even
    strd    even, odd, [to], #8
    subs    n, n, #1
    bne     18b
19: cbz     rest, 20f
    widen_one 0
    cmp     rest, #2
    blt     20f
    widen_one 4
    beq     20f
    widen_one 2
20: next_row 14b
    .size mg_widen_rows, . - mg_widen_rows
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
