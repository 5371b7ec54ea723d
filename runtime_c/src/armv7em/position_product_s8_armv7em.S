/* mg_position_product_s8 for cores with the DSP extension: two output channels at a time.
 *
 * void mg_position_product_s8(const mg_product_t *p, const int16_t *x, int8_t *y); mg_panel.h has the contract.
 *
 * Eight taps take 18 instructions for 16 MACs: four words of x and four of weights, each of these split into a word a
 * channel. A pair of channels takes 41 more, 2 a round of the loop and 8 for each pair of taps that is left over. The loop
 * is unrolled eight times and entered where the first round has as many steps as are left over.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
#include "requantize_armv7em.inc"
        .syntax unified
        .thumb

@ Stack frame. Neighbours are loaded and stored two at a time.
        .equ    BIAS, 0         @ of the next pair of channels
        .equ    SCALE, 4
        .equ    LOW, 8          @ see CLAMP4, of two bytes
        .equ    HIGH, 12
        .equ    ZERO, 16        @ y_zero + 128 in both halves
        .equ    Y, 20
        .equ    X, 24
        .equ    X_END, 28
        .equ    EIGHTS_END, 32  @ of x, as far as the unrolled loop goes
        .equ    ENTRY, 36       @ into it
        .equ    WEIGHTS_END, 40
        .equ    FRAME, 48

        .equ    UNROLL, 8
        .equ    STEP_BYTES, 72

x       .req    r0              @ what to read next
weight  .req    r1
part    .req    r10             @ two taps of the even channel
even    .req    r11             @ sums
odd     .req    r12
end     .req    lr

@ Two taps x times those of two channels; loses w.
.macro TAPS x, w
        sxtb16  part, \w
        smlad   even, part, \x, even
        sxtb16  \w, \w, ror #8
        smlad   odd, \w, \x, odd
.endm

        .section .text.mg_position_product_s8, "ax", %progbits
        .balign 4
        .global mg_position_product_s8
        .type   mg_position_product_s8, %function
        .thumb_func
mg_position_product_s8:
        push    {r4-r11, lr}
        sub     sp, sp, #FRAME
        ldrd    r4, r5, [r0, #PRODUCT_BIAS]
        strd    r4, r5, [sp, #BIAS]
        ldrd    r7, r8, [r0, #PRODUCT_Y_ZERO]   @ and y_min
        ldr     r9, [r0, #PRODUCT_Y_MAX]
        add     r7, r7, #128
        pkhbt   r7, r7, r7, lsl #16
        strd    r7, r2, [sp, #ZERO]             @ and Y
        add     r8, r8, #128
        rsb     r9, r9, #127
        pkhbt   r8, r8, r8, lsl #16
        pkhbt   r9, r9, r9, lsl #16
        strd    r8, r9, [sp, #LOW]
        ldrd    r4, r5, [r0, #PRODUCT_PAIRS]    @ and PRODUCT_TAPS
        ldr     r2, [r0, #PRODUCT_W]
        add     r6, r1, r5, lsl #2
        strd    r1, r6, [sp, #X]
        mul     r4, r4, r5
        add     r4, r2, r4, lsl #2
        str     r4, [sp, #WEIGHTS_END]
        lsrs    r5, r5, #2                      @ steps in the loop
        add     r9, r1, r5, lsl #4
        rsb     r6, r5, #0
        and     r6, r6, #UNROLL - 1             @ steps that its first round skips
        it      eq
        moveq   r6, #UNROLL
        mov     r7, #STEP_BYTES
        adr.w   r8, .Lround
        mla     r6, r6, r7, r8
        orr     r10, r6, #1
        strd    r9, r10, [sp, #EIGHTS_END]
        mov     weight, r2

.Lpair:
        ldrd    r2, r3, [sp, #BIAS]
        ldrd    even, odd, [r2], #8
        vldmia  r3!, {s0, s1}
        strd    r2, r3, [sp, #BIAS]
        ldr     x, [sp, #X]
        ldr     end, [sp, #EIGHTS_END]
        ldr     pc, [sp, #ENTRY]
        .balign 4
.Lround:
        .rept   UNROLL
        ldmia.w x!, {r2-r5}
        ldmia.w weight!, {r6-r9}
        TAPS    r2, r6
        TAPS    r3, r7
        TAPS    r4, r8
        TAPS    r5, r9
        .endr
        cmp     x, end
        bne     .Lround
        ldr     end, [sp, #X_END]
        cmp     x, end
        beq     .Lrequantize
.Lleft:
        ldr     r2, [x], #4
        ldr     r6, [weight], #4
        TAPS    r2, r6
        cmp     x, end
        bne     .Lleft

.Lrequantize:
        vmov    s2, s3, even, odd
        vcvt.f32.s32 s2, s2
        vcvt.f32.s32 s3, s3
        vmul.f32 s2, s2, s0
        vmul.f32 s3, s3, s1
        vcvtr.s32.f32 s2, s2
        vcvtr.s32.f32 s3, s3
        vmov    even, odd, s2, s3
        ssat    even, #16, even
        ssat    odd, #16, odd
        pkhbt   even, even, odd, lsl #16
        ldrd    r4, r5, [sp, #ZERO]             @ and Y
        qadd16  even, even, r4
        usat16  even, #8, even
        ldrd    r2, r3, [sp, #LOW]
        CLAMP4  even, r2, r3
        eor     even, even, #0x00800080         @ unsigned bytes become signed ones
        orr     even, even, even, lsr #8
        strh    even, [r5], #2
        str     r5, [sp, #Y]
        ldr     r2, [sp, #WEIGHTS_END]
        cmp     weight, r2
        bne     .Lpair
        add     sp, sp, #FRAME
        pop     {r4-r11, pc}
        .size   mg_position_product_s8, . - mg_position_product_s8
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
