/* Straight-through masks, eight elements a byte: mask_bits.c says when.
 *
 *     void mg_mask_blocks_armv7em(const int8_t *y, int32_t blocks, uint32_t above, uint32_t below, uint8_t *bits);
 *
 * 15 instructions for eight elements. Each byte that lies between the limits selects the bit of its place; the bits, which do
 * not overlap, add up to the mask.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && !defined(MG_PORTABLE)
        .syntax unified
        .thumb

y       .req    r0
blocks  .req    r1
above   .req    r2
below   .req    r3
bits    .req    r4
zero    .req    r5
low     .req    r6              @ bits 0 to 3, a byte each
high    .req    r7              @ bits 4 to 7

@ The bits of `weights` whose bytes in \x are between the limits; \x is overwritten.
.macro BETWEEN x, weights
        ssub8   r12, \x, above
        sel     r12, \weights, zero
        ssub8   \x, below, \x
        sel     \x, r12, zero
.endm

        .section .text.mg_mask_blocks_armv7em, "ax", %progbits
        .balign 4
        .global mg_mask_blocks_armv7em
        .type   mg_mask_blocks_armv7em, %function
        .thumb_func
mg_mask_blocks_armv7em:
        push    {r4-r9}
        ldr     bits, [sp, #24]
        movs    zero, #0
        movw    low, #0x0201
        movt    low, #0x0804
        lsl     high, low, #4
.Lblock:
        ldr     r8, [y], #4
        ldr     r9, [y], #4
        BETWEEN r8, low
        BETWEEN r9, high
        usad8   r8, r8, zero
        usada8  r8, r9, zero, r8
        strb    r8, [bits], #1
        subs    blocks, blocks, #1
        bne     .Lblock
        pop     {r4-r9}
        bx      lr
        .size   mg_mask_blocks_armv7em, . - mg_mask_blocks_armv7em
#endif

#if defined(__ELF__) && defined(__linux__)
        .section .note.GNU-stack, "", %progbits
#endif
