/* mg_panel_sums_s8 for cores with the DSP extension: two channels by four positions at a time.
 *
 *     void mg_panel_sums_s8(const int16_t *panel, const int8_t *w, int32_t taps, int32_t count, float *acc);
 *
 * mg_panel.h has the contract. The inner loop is mg_panel_product_s8's: 13 instructions for 16 MACs and 3 a round. A panel
 * takes 38 more.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

@ Stack frame.
        .equ    WEIGHTS, 0
        .equ    ENTRY, 4        @ into the unrolled loop
        .equ    PANEL_END, 8
        .equ    PANEL_BYTES, 12
        .equ    ACC, 16
        .equ    ROW_BYTES, 20   @ from the sums of the even channel to those of the odd one
        .equ    COUNT, 24
        .equ    FRAME, 28
        .equ    ACC_ARGUMENT, FRAME + 36

        .equ    UNROLL, 8
        .equ    STEP_BYTES, 52

panel   .req    r0              @ what to read next
weight  .req    r1
x0      .req    r2              @ two taps at a position
x1      .req    r3
even0   .req    r4              @ sums of the even channel at positions 0 to 3
even1   .req    r5
even2   .req    r6
even3   .req    r7
odd0    .req    r8              @ of the odd one
odd1    .req    r9
odd2    .req    r10
odd3    .req    r11
w_even  .req    r12             @ two taps of the even channel
w_odd   .req    lr

@ One pair of taps, added to s (even channel) and t; even3 and odd3 come last, so that they may be s and t.
.macro STEP s0, s1, s2, t0, t1, t2
        ldr     w_odd, [weight], #4
        ldrd    x0, x1, [panel], #8
        sxtb16  w_even, w_odd
        sxtb16  w_odd, w_odd, ror #8
        smlad   even0, w_even, x0, \s0
        smlad   odd0, w_odd, x0, \t0
        smlad   even1, w_even, x1, \s1
        smlad   odd1, w_odd, x1, \t1
        ldrd    x0, x1, [panel], #8
        smlad   even2, w_even, x0, \s2
        smlad   odd2, w_odd, x0, \t2
        smlad   even3, w_even, x1, even3
        smlad   odd3, w_odd, x1, odd3
.endm

        .section .text.mg_panel_sums_s8, "ax", %progbits
        .balign 4
        .global mg_panel_sums_s8
        .type   mg_panel_sums_s8, %function
        .thumb_func
mg_panel_sums_s8:
        push    {r4-r11, lr}
        sub     sp, sp, #FRAME
        lsl     r4, r2, #4
        str     r4, [sp, #PANEL_BYTES]
        str     r0, [sp, #PANEL_END]
        ldr     r4, [sp, #ACC_ARGUMENT]
        lsl     r5, r3, #4
        strd    r4, r5, [sp, #ACC]
        str     r3, [sp, #COUNT]
        subs    r5, r2, #1                      @ steps in the loop
        rsb     r6, r5, #0
        and     r6, r6, #UNROLL - 1             @ steps that its first round skips
        it      eq
        moveq   r6, #UNROLL
        mov     r7, #STEP_BYTES
        adr.w   r8, .Lround
        mla     r6, r6, r7, r8
        orr     r6, r6, #1
        strd    r1, r6, [sp, #WEIGHTS]          @ and ENTRY

.Lpanel:
        ldr     weight, [sp, #WEIGHTS]
        ldrd    x0, x1, [sp, #PANEL_END]
        add     x0, x0, x1
        str     x0, [sp, #PANEL_END]
        movs    even3, #0
        mov     odd3, #0
        STEP    even3, even3, even3, odd3, odd3, odd3
        ldr     pc, [sp, #ENTRY]
        .balign 4
.Lround:
        .rept   UNROLL
        STEP    even0, even1, even2, odd0, odd1, odd2
        .endr
        ldr     x0, [sp, #PANEL_END]
        cmp     panel, x0
        bne     .Lround

        vmov    s0, s1, even0, even1
        vmov    s2, s3, even2, even3
        vmov    s4, s5, odd0, odd1
        vmov    s6, s7, odd2, odd3
        .irp    s, s0, s1, s2, s3, s4, s5, s6, s7
        vcvt.f32.s32 \s, \s
        .endr
        ldrd    x0, x1, [sp, #ACC]
        add     x1, x1, x0
        vstmia  x0!, {s0-s3}
        vstmia  x1, {s4-s7}
        ldr     w_even, [sp, #COUNT]
        str     x0, [sp, #ACC]
        subs    w_even, w_even, #1
        str     w_even, [sp, #COUNT]
        bne     .Lpanel
        add     sp, sp, #FRAME
        pop     {r4-r11, pc}
        .size   mg_panel_sums_s8, . - mg_panel_sums_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
