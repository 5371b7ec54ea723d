/* mg_panel_product_s8 for cores with the DSP extension: two output channels by four positions at a time.
 *
 * void mg_panel_product_s8(const mg_product_t *p, const int16_t *panels, int32_t count, int8_t *y);
 * mg_panel.h has the contract.
 *
 * A pair of taps takes 13 instructions for 16 MACs: a word of weights (two taps of two channels) splits into a word a
 * channel, four words of the panel meet both. A pair of channels takes 65 more, 48 of them to requantise eight outputs
 * (57 where zero is not -128), and 3 a round of the loop; a panel takes 14 more. The first pair of taps is peeled off, so
 * that its sums start from the bias without a move; the loop over the others is unrolled eight times and entered where the
 * first round has as many steps as are left over.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#include "requantize_armv7em.inc"
        .syntax unified
        .thumb
#include "panel_step_armv7em.inc"

@ Stack frame. Neighbours are loaded and stored two at a time.
        .equ    BIAS, 0         @ of the next pair of channels
        .equ    SCALE, 4
        .equ    Y, 8
        .equ    Y_CHANNEL, 12
        .equ    ZERO, 16        @ y_zero + 128 in both halves
        .equ    GENERAL, 20     @ see GRID
        .equ    LOW, 24         @ see CLAMP4
        .equ    HIGH, 28
        .equ    PANEL, 32
        .equ    PANEL_END, 36
        .equ    WEIGHTS_END, 40
        .equ    ENTRY, 44       @ into the unrolled loop
        .equ    FRAME, 48
@ Pushed arguments above it.
        .equ    PRODUCT, FRAME
        .equ    LEFT, FRAME + 4         @ panels
        .equ    FIRST_Y, FRAME + 8      @ of this panel
        .equ    ARGUMENTS, 12

        .section .text.mg_panel_product_s8, "ax", %progbits
        .balign 4
        .global mg_panel_product_s8
        .type   mg_panel_product_s8, %function
        .thumb_func
mg_panel_product_s8:
        push    {r0, r2, r3, r4-r11, lr}
        sub     sp, sp, #FRAME
        ldrd    r4, r5, [r0, #PRODUCT_BIAS]
        strd    r4, r5, [sp, #BIAS]
        ldr     r6, [r0, #PRODUCT_Y_CHANNEL]
        strd    r3, r6, [sp, #Y]
        GRID
        strd    r7, r11, [sp, #ZERO]
        strd    r8, r9, [sp, #LOW]
        ldrd    r4, r5, [r0, #PRODUCT_PAIRS]    @ and PRODUCT_TAPS
        add     r6, r1, r5, lsl #4
        strd    r1, r6, [sp, #PANEL]
        ldr     weight, [r0, #PRODUCT_W]
        mul     r4, r4, r5
        add     r4, weight, r4, lsl #2
        FIND_ENTRY r5
        strd    r4, r6, [sp, #WEIGHTS_END]      @ and ENTRY

.Lpair:
        ldrd    w_even, w_odd, [sp, #BIAS]
        ldrd    even3, odd3, [w_even], #8
        vldmia  w_odd!, {s0, s1}
        strd    w_even, w_odd, [sp, #BIAS]
        ldr     panel, [sp, #PANEL]
        STEP    even3, even3, even3, odd3, odd3, odd3
        ROUNDS  panel, PANEL_END

        PACK_SUMS
        ldrd    x0, x1, [sp, #Y]
        str     even0, [x0]
        str     odd0, [x0, x1]
        add     x0, x0, x1, lsl #1
        str     x0, [sp, #Y]
        ldr     x0, [sp, #WEIGHTS_END]
        cmp     weight, x0
        bne     .Lpair

        ldrd    x0, x1, [sp, #LEFT]             @ and FIRST_Y
        subs    x0, x0, #1
        beq     .Ldone
        add     x1, x1, #4
        strd    x0, x1, [sp, #LEFT]
        str     x1, [sp, #Y]
        ldr     x0, [sp, #PRODUCT]
        ldr     weight, [x0, #PRODUCT_W]
        ldrd    r4, r5, [x0, #PRODUCT_BIAS]     @ and PRODUCT_SCALE
        strd    r4, r5, [sp, #BIAS]
        ldrd    r4, r5, [sp, #PANEL]            @ and PANEL_END
        sub     r4, r5, r4
        add     r4, r5, r4
        strd    r5, r4, [sp, #PANEL]
        b       .Lpair
.Ldone:
        add     sp, sp, #FRAME + ARGUMENTS
        pop     {r4-r11, pc}

        PACK_SUMS_GENERAL
        .size   mg_panel_product_s8, . - mg_panel_product_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
