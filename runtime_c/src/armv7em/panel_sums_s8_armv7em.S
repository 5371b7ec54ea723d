/* mg_panel_sums_s8 for cores with the DSP extension: two channels by four positions at a time.
 *
 *     void mg_panel_sums_s8(const int16_t *panel, const int16_t *w, int32_t taps, int32_t count, float *acc);
 *
 * mg_panel.h has the contract. The inner loop is mg_strip_product_s8's: 11 instructions for 16 MACs and 3 a round. A panel
 * takes 24 more.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#define WIDE_WEIGHTS
        .syntax unified
        .thumb
#include "panel_step_armv7em.inc"

@ Stack frame.
        .equ    WEIGHTS, 0
        .equ    ENTRY, 4        @ into the unrolled loop
        .equ    WEIGHTS_END, 8
        .equ    ACC, 12         @ of the even channel
        .equ    ROW_BYTES, 16   @ from there to the sums of the odd one
        .equ    ACC_END, 20
        .equ    FRAME, 24
        .equ    ACC_ARGUMENT, FRAME + 36

        .section .text.mg_panel_sums_s8, "ax", %progbits
        .balign 4
        .global mg_panel_sums_s8
        .type   mg_panel_sums_s8, %function
        .thumb_func
mg_panel_sums_s8:
        push    {r4-r11, lr}
        sub     sp, sp, #FRAME
        add     r4, r1, r2, lsl #3
        str     r4, [sp, #WEIGHTS_END]
        ldr     r4, [sp, #ACC_ARGUMENT]
        lsl     r5, r3, #4
        strd    r4, r5, [sp, #ACC]
        add     r4, r4, r5
        str     r4, [sp, #ACC_END]
        FIND_ENTRY r2
        strd    r1, r6, [sp, #WEIGHTS]          @ and ENTRY

.Lpanel:
        ldr     weight, [sp, #WEIGHTS]
        LOAD_TAPS                               @ the first pair
        smuad   even0, w_even, x0
        smuad   even1, w_even, x1
        smuad   odd1, w_odd, x1
        smuad   odd0, w_odd, x0
        ldrd    x0, x1, [panel], #8
        smuad   even2, w_even, x0
        smuad   odd2, w_odd, x0
        smuad   even3, w_even, x1
        smuad   odd3, w_odd, x1
        ROUNDS  weight, WEIGHTS_END

        vmov    s0, s1, even0, even1
        vmov    s2, s3, even2, even3
        vmov    s4, s5, odd0, odd1
        vmov    s6, s7, odd2, odd3
        ldrd    x0, x1, [sp, #ACC]
        .irp    s, s0, s1, s2, s3, s4, s5, s6, s7
        vcvt.f32.s32 \s, \s
        .endr
        add     x1, x1, x0
        vstmia  x0!, {s0-s3}
        vstmia  x1, {s4-s7}
        ldr     x1, [sp, #ACC_END]
        str     x0, [sp, #ACC]
        cmp     x0, x1
        bne     .Lpanel
        add     sp, sp, #FRAME
        pop     {r4-r11, pc}
        .size   mg_panel_sums_s8, . - mg_panel_sums_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
