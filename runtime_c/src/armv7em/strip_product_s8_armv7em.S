/* mg_strip_product_s8 for cores with the DSP extension: two output channels by four positions at a time.
 *
 * void mg_strip_product_s8(const mg_product_t *p, const int16_t *panels, int32_t count, int16_t *wide, int8_t *y);
 * mg_panel.h has the contract.
 *
 * The weights of a pair of channels are widened once for all panels, three instructions for four weights: a pair of taps then
 * takes 11 instructions for 16 MACs. A pair of channels takes 61 more a panel, 48 of them to requantise eight outputs (57 where
 * zero is not -128), and 3 a round of the loop, which is entered as in mg_panel_product_s8.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#define WIDE_WEIGHTS
#include "requantize_armv7em.inc"
        .syntax unified
        .thumb
#include "panel_step_armv7em.inc"

@ Stack frame. Neighbours are loaded and stored two at a time.
        .equ    BIAS, 0         @ of the two channels
        .equ    Y, 8
        .equ    Y_CHANNEL, 12
        .equ    ZERO, 16        @ y_zero + 128 in both halves
        .equ    GENERAL, 20     @ see GRID
        .equ    LOW, 24         @ see CLAMP4
        .equ    HIGH, 28
        .equ    WIDE, 32
        .equ    WIDE_END, 36
        .equ    Y_END, 40       @ behind the last panel's positions of the even channel
        .equ    ENTRY, 44       @ into the unrolled loop
        .equ    NEXT_BIAS, 48   @ of the next pair of channels
        .equ    NEXT_SCALE, 52
        .equ    NEXT_WEIGHTS, 56
        .equ    NEXT_Y, 60
        .equ    PANELS, 64
        .equ    TAPS, 68        @ in pairs
        .equ    LENGTH, 72      @ positions of the strip
        .equ    LEFT, 76        @ pairs of channels
        .equ    FRAME, 80
        .equ    Y_ARGUMENT, FRAME + 36

        .section .text.mg_strip_product_s8, "ax", %progbits
        .balign 4
        .global mg_strip_product_s8
        .type   mg_strip_product_s8, %function
        .thumb_func
mg_strip_product_s8:
        push    {r4-r11, lr}
        sub     sp, sp, #FRAME
        GRID
        strd    r7, r11, [sp, #ZERO]
        strd    r8, r9, [sp, #LOW]
        ldrd    r4, r5, [r0, #PRODUCT_PAIRS]    @ and PRODUCT_TAPS
        add     r6, r3, r5, lsl #3
        strd    r3, r6, [sp, #WIDE]
        strd    r1, r5, [sp, #PANELS]           @ and TAPS
        lsl     r2, r2, #2
        strd    r2, r4, [sp, #LENGTH]           @ and LEFT
        ldrd    r6, r7, [r0, #PRODUCT_BIAS]     @ and PRODUCT_SCALE
        strd    r6, r7, [sp, #NEXT_BIAS]
        ldr     r6, [r0, #PRODUCT_W]
        ldr     r7, [sp, #Y_ARGUMENT]
        strd    r6, r7, [sp, #NEXT_WEIGHTS]     @ and NEXT_Y
        ldr     r6, [r0, #PRODUCT_Y_CHANNEL]
        str     r6, [sp, #Y_CHANNEL]
        FIND_ENTRY r5
        str     r6, [sp, #ENTRY]

.Lpair:
        ldrd    r4, r5, [sp, #NEXT_BIAS]        @ and NEXT_SCALE
        ldrd    r6, r7, [r4], #8
        vldmia  r5!, {s0, s1}
        strd    r4, r5, [sp, #NEXT_BIAS]
        strd    r6, r7, [sp, #BIAS]
        ldrd    r4, r5, [sp, #NEXT_WEIGHTS]     @ and NEXT_Y
        ldr     r7, [sp, #Y_CHANNEL]
        ldr     r8, [sp, #LENGTH]
        str     r5, [sp, #Y]
        add     r8, r5, r8
        add     r5, r5, r7, lsl #1
        str     r8, [sp, #Y_END]
        str     r5, [sp, #NEXT_Y]

        ldr     weight, [sp, #WIDE]
        ldr     r5, [sp, #TAPS]
        subs    r5, r5, #4
        blt     .Lwiden_rest
.Lwiden_four:
        ldm     r4!, {r10-r12, lr}
        sxtb16  r2, r10
        sxtb16  r3, r10, ror #8
        sxtb16  r6, r11
        sxtb16  r7, r11, ror #8
        sxtb16  r8, r12
        sxtb16  r9, r12, ror #8
        sxtb16  r10, lr
        sxtb16  r11, lr, ror #8
        stm     weight!, {r2, r3, r6-r11}
        subs    r5, r5, #4
        bge     .Lwiden_four
.Lwiden_rest:
        adds    r5, r5, #4
        beq     .Lwidened
.Lwiden_one:
        ldr     r3, [r4], #4
        sxtb16  r2, r3
        sxtb16  r3, r3, ror #8
        strd    r2, r3, [weight], #8
        subs    r5, r5, #1
        bne     .Lwiden_one
.Lwidened:
        str     r4, [sp, #NEXT_WEIGHTS]
        ldr     panel, [sp, #PANELS]            @ from one to the next without a gap

.Lpanel:
        ldrd    even3, odd3, [sp, #BIAS]
        ldr     weight, [sp, #WIDE]
        STEP    even3, even3, even3, odd3, odd3, odd3
        ROUNDS  weight, WIDE_END

        PACK_SUMS
        ldrd    x0, x1, [sp, #Y]
        str     odd0, [x0, x1]
        str     even0, [x0], #4
        ldr     x1, [sp, #Y_END]
        str     x0, [sp, #Y]
        cmp     x0, x1
        bne     .Lpanel
        ldr     x0, [sp, #LEFT]
        subs    x0, x0, #1
        str     x0, [sp, #LEFT]
        bne     .Lpair
        add     sp, sp, #FRAME
        pop     {r4-r11, pc}

        PACK_SUMS_GENERAL
        .size   mg_strip_product_s8, . - mg_strip_product_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
