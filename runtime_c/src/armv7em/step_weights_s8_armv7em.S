/* Stochastic steps of weights, four at a time: step_weights_s8.c says when.
 *
 *     uint32_t mg_step_blocks_armv7em(const float *acc, int32_t blocks, const float *factor, uint32_t hash, int8_t *w);
 *
 * 18 instructions a weight, 7 of them for its random number. floor() is the conversion to int32 while the FPU rounds down;
 * it saturates, and so do the steps after it, so that nothing needs to be clamped before. VMLS rounds its product.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

acc     .req    r0
blocks  .req    r1
w       .req    r2
hash    .req    r3              @ key + 0x9E3779B9 * index
golden  .req    r4
mix1    .req    r5              @ factors of mg_mix
mix2    .req    r6
word    .req    r11
count   .req    r12             @ weights at +-127
nearest .req    lr              @ the FPU's control register
factor  .req    s8

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
        movs    count, #0
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
        ssat    \step, #16, \step
        .endr
        sxtab   r7, r7, word
        sxtab   r8, r8, word, ror #8
        sxtab   r9, r9, word, ror #16
        sxtab   r10, r10, word, ror #24
        .irp    moved, r7, r8, r9, r10
        ssat    \moved, #8, \moved
        .endr
        bfi     r7, r8, #8, #8
        bfi     r7, r9, #16, #8
        bfi     r7, r10, #24, #8
        mov     r9, #-1
        qadd8   r7, r7, r9              @ -128 and -127 become -128,
        qsub8   r7, r7, r9              @ and that -127
        str     r7, [w], #4
        mov     r8, #0x7E7E7E7E
        mov     r9, #0xFCFCFCFC
        uadd8   r7, r7, r8              @ 127 and -127 become 253 and 255
        uqsub8  r7, r7, r9
        cbnz    r7, .Lsaturated
.Lnext:
        subs    blocks, blocks, #1
        bne     .Lblock
        mov     r0, count
        pop     {r4-r11, pc}

.Lsaturated:
        and     r7, r7, #0x01010101     @ was 1 or 3
        mov     r9, #0
        usada8  count, r7, r9, count
        b       .Lnext
        .size   mg_step_blocks_armv7em, . - mg_step_blocks_armv7em
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
