/* Residual addition, four elements at a time: add_s8.c has the fields and the rest.
 *
 *     void mg_add_blocks_armv7em(const add_blocks_t *g, const int8_t *a, const int8_t *b, int32_t blocks, int8_t *y);
 *
 * 13 instructions an element. The FPU rounds half to even and saturates; clamping the integer is clamping before rounding,
 * the limits being integers. VMLA rounds its product. Unsigned bytes clamp to the grid: up to low, then down from the top.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

left    .req    r1
right   .req    r2
blocks  .req    r3
y       .req    r0
low     .req    r8
high    .req    r9
a_zero  .req    r10             @ negative
b_zero  .req    r11
y_zero  .req    r12             @ + 128, in both halves
a_scale .req    s8
b_scale .req    s9

@ Four bytes less their zero point, as floats.
.macro LOAD x, zero, f0, f1, f2, f3
        ldr     r4, [\x], #4
        sxtab   r5, \zero, r4
        sxtab   r6, \zero, r4, ror #8
        sxtab   r7, \zero, r4, ror #16
        sxtab   r4, \zero, r4, ror #24
        vmov    \f0, \f1, r5, r6
        vmov    \f2, \f3, r7, r4
        .irp    f, \f0, \f1, \f2, \f3
        vcvt.f32.s32 \f, \f
        .endr
.endm

        .section .text.mg_add_blocks_armv7em, "ax", %progbits
        .balign 4
        .global mg_add_blocks_armv7em
        .type   mg_add_blocks_armv7em, %function
        .thumb_func
mg_add_blocks_armv7em:
        push    {r4-r11}
        vldmia  r0!, {s8, s9}
        ldmia   r0, {r10, r11, r12}
        ldrd    low, high, [r0, #12]
        ldr     y, [sp, #32]
.Lblock:
        LOAD    left, a_zero, s0, s1, s2, s3
        LOAD    right, b_zero, s4, s5, s6, s7
        .irp    f, s0, s1, s2, s3
        vmul.f32 \f, \f, a_scale
        .endr
        vmla.f32 s0, s4, b_scale
        vmla.f32 s1, s5, b_scale
        vmla.f32 s2, s6, b_scale
        vmla.f32 s3, s7, b_scale
        .irp    f, s0, s1, s2, s3
        vcvtr.s32.f32 \f, \f
        .endr
        vmov    r4, r5, s0, s1
        vmov    r6, r7, s2, s3
        .irp    q, r4, r5, r6, r7
        ssat    \q, #16, \q
        .endr
        pkhbt   r4, r4, r6, lsl #16
        pkhbt   r5, r5, r7, lsl #16
        qadd16  r4, r4, y_zero
        qadd16  r5, r5, y_zero
        usat16  r4, #8, r4
        usat16  r5, #8, r5
        orr     r4, r4, r5, lsl #8
        uqadd8  r4, r4, high            @ not above y_max,
        uqsub8  r4, r4, high
        uqsub8  r4, r4, low             @ not below y_min
        uqadd8  r4, r4, low
        eor     r4, r4, #0x80808080
        str     r4, [y], #4
        subs    blocks, blocks, #1
        bne     .Lblock
        pop     {r4-r11}
        bx      lr
        .size   mg_add_blocks_armv7em, . - mg_add_blocks_armv7em
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
