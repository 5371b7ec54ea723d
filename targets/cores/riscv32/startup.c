/* Reset and the way into a fault report, for RV32 in machine mode. No statics: nothing here costs RAM. */
#include "board.h"
#include "stack.h"

int main(void);
void mg_reset(void);
void Reset_Handler(void);
void Fault_Handler(void);

#define MSTATUS_FS 0x2000u /* the float unit is on */

/* Everything after the stack is painted: float unit, .data, .bss, memory window, main. */
__attribute__((used, noreturn)) void mg_reset(void) {
    __asm__ volatile("csrw mtvec, %0\n csrs mstatus, %1" : : "r"(mg_address((void *)Fault_Handler)), "r"(MSTATUS_FS));
    const uint32_t *from = __data_load;
    for (uint32_t *to = __data_start; to < __data_end;) *to++ = *from++;
    for (uint32_t *to = __bss_start; to < __bss_end;) *to++ = 0;
    mg_window_start();
    mg_exit(main());
}

/* The first instructions of flash. Paints the whole stack before it is used, so that its high-water mark can be read. */
__attribute__((naked, noreturn, section(".vectors"), used)) void Reset_Handler(void) {
    __asm__ volatile(
        "la t0, __stack_bottom\n"
        "la t1, __stack_top\n"
        "li t2, 0xC5C5C5C5\n"
        "1: bgeu t0, t1, 2f\n"
        "sw t2, 0(t0)\n"
        "addi t0, t0, 4\n"
        "j 1b\n"
        "2: mv sp, t1\n"
        "call mg_reset");
}

/* The stack may be what failed: report from a fresh one. */
__attribute__((naked, aligned(4), used)) void Fault_Handler(void) {
    __asm__ volatile(
        "mv a0, sp\n"
        "la sp, __stack_top\n"
        "call mg_fault");
}

uint32_t mg_stack_high_water(void) {
    const uint32_t *p = __stack_bottom;
    while (p < __stack_top && *p == MG_STACK_PAINT) p++;
    return mg_address(__stack_top) - mg_address(p);
}

uint32_t mg_stack_reserve(void) { return mg_address(__stack_top) - mg_address(__stack_bottom); }
