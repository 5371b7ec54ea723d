/* Stochastic steps of weights, four at a time: step_weights_s8.c says when.
 *
 *     uint32_t mg_step_blocks_armv7em(const float *acc, int32_t n, const float *factor, uint32_t hash, int8_t *w);
 *
 * 17 instructions a weight, 7 of them for its random number. floor() is the conversion to int32 while the FPU rounds down;
 * it saturates, and so do the steps after it, so that nothing needs to be clamped before. VMLS rounds its product.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

acc     .req    r0
left    .req    r1
w       .req    r2
hash    .req    r3              @ key + 0x9E3779B9 * index
golden  .req    r4
mix1    .req    r5              @ factors of mg_mix
mix2    .req    r6
word    .req    r11
ones    .req    r12
nearest .req    lr              @ the FPU's control register
factor  .req    s8
count   .req    s9              @ weights at +-127

        .equ    ROUND_DOWN, 0x00800000

@ 24 random bits.
.macro RANDOM bits
        eor     \bits, hash, hash, lsr #16
        add     hash, hash, golden
        mul     \bits, \bits, mix1
        eor     \bits, \bits, \bits, lsr #15
        mul     \bits, \bits, mix2
        eor     \bits, \bits, \bits, lsr #16
        lsr     \bits, \bits, #8
.endm

        .section .text.mg_step_blocks_armv7em, "ax", %progbits
        .balign 4
        .global mg_step_blocks_armv7em
        .type   mg_step_blocks_armv7em, %function
        .thumb_func
mg_step_blocks_armv7em:
        push    {r4-r11, lr}
        vldr    factor, [r2]
        ldr     w, [sp, #36]
        movw    golden, #0x79B9
        movt    golden, #0x9E37
        movw    mix1, #0x352D
        movt    mix1, #0x7FEB
        movw    mix2, #0xA68B
        movt    mix2, #0x846C
        movs    r7, #0
        vmov    count, r7
        mov     ones, #0x01010101
        vmrs    nearest, fpscr
.Lblock:
        RANDOM  r7
        RANDOM  r8
        RANDOM  r9
        RANDOM  r10
        vldmia  acc!, {s4-s7}
        vmov    s0, s1, r7, r8
        vmov    s2, s3, r9, r10
        .irp    s, s0, s1, s2, s3
        vcvt.f32.u32 \s, \s, #24
        .endr
        vmls.f32 s0, s4, factor
        vmls.f32 s1, s5, factor
        vmls.f32 s2, s6, factor
        vmls.f32 s3, s7, factor
        orr     word, nearest, #ROUND_DOWN
        vmsr    fpscr, word
        .irp    s, s0, s1, s2, s3
        vcvtr.s32.f32 \s, \s
        .endr
        vmsr    fpscr, nearest
        vmov    r7, r8, s0, s1
        vmov    r9, r10, s2, s3
        ldr     word, [w]
        .irp    step, r7, r8, r9, r10
        ssat    \step, #15, \step
        .endr
        eor     word, word, #0x80808080 @ bytes of weight + 128 from here on
        pkhbt   r7, r7, r9, lsl #16
        pkhbt   r8, r8, r10, lsl #16
        uxtab16 r7, r7, word
        uxtab16 r8, r8, word, ror #8
        usat16  r7, #8, r7
        usat16  r8, #8, r8
        orr     r7, r7, r8, lsl #8
        uqsub8  r7, r7, ones            @ 0 and 1, which are -128 and -127, become 0, and 255 254
        mov     r8, #0x81818181
        uadd8   r8, r7, r8
        str     r8, [w], #4
        usub8   r7, r7, ones
        mov     r8, #0xFCFCFCFC
        uqsub8  r7, r7, r8              @ what was 0 or 254 is 3 or 1, and all others 0
        cbnz    r7, .Lsaturated
.Lnext:
        subs    left, left, #4
        bne     .Lblock
        vmov    r0, count
        pop     {r4-r11, pc}

.Lsaturated:
        and     r7, r7, ones
        mov     r8, #0
        vmov    r9, count
        usada8  r9, r7, r8, r9
        vmov    count, r9
        b       .Lnext
        .size   mg_step_blocks_armv7em, . - mg_step_blocks_armv7em
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
