/* memcpy and memset as small as they go without being slow: 16 bytes at a time, then bytes. Words may lie at any address:
 * LDR and STR take it on ARMv7-M and ARMv8-M.
 *
 *     void *memcpy(void *to, const void *from, size_t n);
 *     void *memset(void *to, int value, size_t n);
 */
        .syntax unified
        .thumb

        .section .text.memcpy, "ax", %progbits
        .balign 4
        .global memcpy
        .type   memcpy, %function
        .thumb_func
memcpy:
        push    {r0, r4, r5, lr}
        subs    r2, #16
        blo     2f
1:      ldr     r3, [r1], #4
        ldr     r4, [r1], #4
        ldr     r5, [r1], #4
        ldr     r12, [r1], #4
        str     r3, [r0], #4
        str     r4, [r0], #4
        str     r5, [r0], #4
        str     r12, [r0], #4
        subs    r2, #16
        bhs     1b
2:      adds    r2, #16
        beq     4f
3:      ldrb    r3, [r1], #1
        strb    r3, [r0], #1
        subs    r2, #1
        bne     3b
4:      pop     {r0, r4, r5, pc}
        .size   memcpy, . - memcpy

        .section .text.memset, "ax", %progbits
        .balign 4
        .global memset
        .type   memset, %function
        .thumb_func
memset:
        mov     r3, r0
        and     r1, r1, #255
        orr     r1, r1, r1, lsl #8
        orr     r1, r1, r1, lsl #16
        subs    r2, #16
        blo     2f
1:      str     r1, [r3], #4
        str     r1, [r3], #4
        str     r1, [r3], #4
        str     r1, [r3], #4
        subs    r2, #16
        bhs     1b
2:      adds    r2, #16
        it      eq
        bxeq    lr
3:      strb    r1, [r3], #1
        subs    r2, #1
        bne     3b
        bx      lr
        .size   memset, . - memset
