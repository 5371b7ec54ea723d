/* int8 error rows in blocks of eight: store.c says what the fields mean and when this is the same as one by one.
 *
 *     int32_t mg_store_blocks_armv7em(const blocks_t *b)
 *
 * v = acc [* base [+ skip * skip_scale]] * scale is rounded by the FPU's own mode, half to even, and saturates; masked
 * elements become 0; a block with a |q| above the bound is left to the caller.
 * Instructions an element: 7.5, of which 1.4 for the mask; 1.1 more for a base of its own, 5 more for a skip.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
    .syntax unified
    .thumb

/* blocks_t */
#define BLOCKS 16
#define SEPARATE 20
#define FACTORS 24
#define BITS 36
#define LIMITS 44
#define BOUND 52

acc     .req r0
out     .req r1
skip    .req r2
mask    .req r3
row     .req lr
blocks  .req r12
base    .req s0
skip_scale .req s1
scale   .req s2
/* r4-r11: the eight integers; packed, r4 and r8 are the block. s8-s15: the eight floats; s4-s7: four of skip. */

/* Four bytes of skip onto four floats. */
.macro add_skip f0, f1, f2, f3
    ldr     r4, [skip], #4
    sxtb    r5, r4
    sxtb    r6, r4, ror #8
    sxtb    r7, r4, ror #16
    asrs    r4, r4, #24
    vmov    s4, s5, r5, r6
    vmov    s6, s7, r7, r4
    .irp f, s4, s5, s6, s7
    vcvt.f32.s32 \f, \f
    .endr
    .irp f, s4, s5, s6, s7
    vmul.f32 \f, \f, skip_scale
    .endr
    vadd.f32 \f0, \f0, s4
    vadd.f32 \f1, \f1, s5
    vadd.f32 \f2, \f2, s6
    vadd.f32 \f3, \f3, s7
.endm

/* Zero where the four bytes of mask are not between r9 and r10; r11 is 0. */
.macro between packed, bytes
    ssub8   r7, \bytes, r9
    sel     \packed, \packed, r11
    ssub8   r7, r10, \bytes
    sel     \packed, \packed, r11
.endm

    .section .text.mg_store_blocks_armv7em, "ax", %progbits
    .global mg_store_blocks_armv7em
    .type   mg_store_blocks_armv7em, %function
    .thumb_func
    .p2align 2
mg_store_blocks_armv7em:
    push    {r4-r11, lr}
    mov     row, r0
    add     r4, row, #FACTORS
    vldmia  r4, {s0-s2}
    ldr     blocks, [row, #BLOCKS]
    ldm     row, {acc, out, skip, mask}
.Lblock:
    vldmia  acc!, {s8-s15}
    ldr     r4, [row, #SEPARATE]
    cmp     r4, #0
    beq     .Lscale
    .irp f, s8, s9, s10, s11, s12, s13, s14, s15
    vmul.f32 \f, \f, base
    .endr
    cmp     skip, #0
    beq     .Lscale
    add_skip s8, s9, s10, s11
    add_skip s12, s13, s14, s15
.Lscale:
    .irp f, s8, s9, s10, s11, s12, s13, s14, s15
    vmul.f32 \f, \f, scale
    .endr
    .irp f, s8, s9, s10, s11, s12, s13, s14, s15
    vcvtr.s32.f32 \f, \f
    .endr
    vmov    r4, r5, s8, s9
    vmov    r6, r7, s10, s11
    vmov    r8, r9, s12, s13
    vmov    r10, r11, s14, s15
    .irp q, r4, r5, r6, r7, r8, r9, r10, r11
    ssat    \q, #8, \q
    .endr
    bfi     r4, r5, #8, #8
    bfi     r4, r6, #16, #8
    bfi     r4, r7, #24, #8
    bfi     r8, r9, #8, #8
    bfi     r8, r10, #16, #8
    bfi     r8, r11, #24, #8
    cbz     mask, .Lcheck
    ldrd    r5, r6, [row, #BITS]
    movs    r11, #0
    cbz     r5, .Lbytes
    ldrb    r7, [mask], #1              /* eight bits from two bytes, to where GE is in the status register */
    ldrb    r6, [mask, r6]
    orr     r7, r7, r6, lsl #8
    lsls    r7, r7, r5
    msr     APSR_g, r7
    sel     r4, r4, r11
    lsrs    r7, r7, #4
    msr     APSR_g, r7
    sel     r8, r8, r11
.Lcheck:
    ldrd    r9, r10, [row, #BOUND]      /* |q| <= bound: q + bound, unsigned, is at most span */
    uadd8   r5, r4, r9
    uqsub8  r5, r5, r10
    uadd8   r6, r8, r9
    uqsub8  r6, r6, r10
    orrs    r5, r5, r6
    bne     .Ldone
    str     r4, [out], #4
    str     r8, [out], #4
    subs    blocks, blocks, #1
    bne     .Lblock
.Ldone:
    mov     r0, blocks
    pop     {r4-r11, pc}

.Lbytes:
    ldrd    r9, r10, [row, #LIMITS]
    ldr     r5, [mask], #4
    ldr     r6, [mask], #4
    between r4, r5
    between r8, r6
    b       .Lcheck
    .size   mg_store_blocks_armv7em, . - mg_store_blocks_armv7em
#endif

#if defined(__ELF__) && defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
