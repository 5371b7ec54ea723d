/* mg_rows_panel_s8 for cores with the DSP extension.
 *
 *     void mg_rows_panel_s8(const int8_t *const rows[4], int32_t n, int32_t zero, int16_t *panel);
 *
 * mg_wgrad.h has the contract. 19 instructions for four positions of four rows; rows are read by unaligned words, and their
 * last one to three positions byte by byte.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

row0    .req    r0
row1    .req    r4
row2    .req    r5
row3    .req    r6
left    .req    r1
zero    .req    r2              @ -zero in both halves
panel   .req    r3

@ Two words of a row that lies in \x, which may be \even: positions 0 and 2, 1 and 3.
.macro SPLIT even, odd, x
        sxtab16 \odd, zero, \x, ror #8
        sxtab16 \even, zero, \x
.endm

#include "row_tail_armv7em.inc"

        .section .text.mg_rows_panel_s8, "ax", %progbits
        .balign 4
        .global mg_rows_panel_s8
        .type   mg_rows_panel_s8, %function
        .thumb_func
mg_rows_panel_s8:
        push    {r4-r11, lr}
        ldrd    row2, row3, [r0, #8]
        ldrd    row0, row1, [r0]
        rsb     zero, zero, #0
        pkhbt   zero, zero, zero, lsl #16
        subs    left, left, #4
        blt     .Ltail
.Lfour:
        ldr     r11, [row0], #4
        ldr     r12, [row1], #4
        SPLIT   r7, r8, r11
        SPLIT   r9, r10, r12
        str     r7, [panel], #4
        str     r9, [panel], #4
        ldr     r11, [row2], #4
        ldr     r12, [row3], #4
        SPLIT   r7, r9, r11
        SPLIT   r11, lr, r12
        stmia   panel!, {r7, r11}
        strd    r8, r10, [panel], #8
        strd    r9, lr, [panel], #8
        subs    left, left, #4
        bge     .Lfour
.Ltail:
        cmp     left, #-4
        beq     .Ldone
        TAIL    r11, row0
        SPLIT   r7, r8, r11
        TAIL    r11, row1
        SPLIT   r9, r10, r11
        strd    r7, r9, [panel], #8
        TAIL    r11, row2
        SPLIT   r7, r9, r11
        TAIL    r11, row3
        SPLIT   r11, lr, r11
        strd    r7, r11, [panel], #8
        strd    r8, r10, [panel], #8
        strd    r9, lr, [panel], #8
.Ldone:
        pop     {r4-r11, pc}
        .size   mg_rows_panel_s8, . - mg_rows_panel_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
