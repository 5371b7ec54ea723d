/* Vectors, reset and the way into a fault report, for ARMv7-M and ARMv8-M. No statics: nothing here costs RAM. */
#include "board.h"
#include "stack.h"

#define SCB_VTOR 0xE000ED08u
#define SCB_CCR 0xE000ED14u
#define SCB_SHCSR 0xE000ED24u
#define SCB_CPACR 0xE000ED88u

int main(void);
void mg_reset(void);
void Reset_Handler(void);
void Fault_Handler(void);

/* Everything after the stack is painted: FPU, .data, .bss, memory window, main. */
__attribute__((used, noreturn)) void mg_reset(void) {
    *mg_register(SCB_VTOR) = mg_address(__flash_start);
    *mg_register(SCB_CPACR) |= 0xFu << 20; /* full access to CP10 and CP11 */
    __asm__ volatile("dsb\n isb" ::: "memory");
    *mg_register(SCB_CCR) |= 1u << 4;     /* an integer division by zero faults */
    *mg_register(SCB_SHCSR) |= 7u << 16; /* memory, bus and usage faults have their own handlers */
    const uint32_t *from = __data_load;
    for (uint32_t *to = __data_start; to < __data_end;) *to++ = *from++;
    for (uint32_t *to = __bss_start; to < __bss_end;) *to++ = 0;
    mg_window_start();
    mg_exit(main());
}

/* Paints the whole stack before it is used, so that its high-water mark can be read afterwards. */
__attribute__((naked, noreturn)) void Reset_Handler(void) {
    __asm__ volatile(
        "ldr r0, =__stack_bottom\n"
        "ldr r1, =__stack_top\n"
        "ldr r2, =0xC5C5C5C5\n"
        "1: cmp r0, r1\n"
        "bhs 2f\n"
        "str r2, [r0], #4\n"
        "b 1b\n"
        "2: mov sp, r1\n"
        "bl mg_reset\n"
        ".ltorg");
}

/* The stack may be what failed: then report from a fresh one. Else below the frame, which must not be written over. */
__attribute__((naked)) void Fault_Handler(void) {
    __asm__ volatile(
        "mov r0, sp\n"
        "ldr r2, =__stack_top\n"
        "ldr r3, =__stack_bottom + 512\n" /* room for the report */
        "cmp r0, r3\n"
        "it hs\n"
        "cmphs r2, r0\n"
        "it lo\n"
        "movlo sp, r2\n"
        "bl mg_fault\n"
        ".ltorg");
}

static void unexpected_interrupt(void) {
    mg_report("@mcugrad error an interrupt came that nobody asked for\n");
    mg_exit(MG_EXIT_INTERRUPT);
}

uint32_t mg_stack_high_water(void) {
    const uint32_t *p = __stack_bottom;
    while (p < __stack_top && *p == MG_STACK_PAINT) p++;
    return mg_address(__stack_top) - mg_address(p);
}

uint32_t mg_stack_reserve(void) { return mg_address(__stack_top) - mg_address(__stack_bottom); }

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    __stack_top,   Reset_Handler, unexpected_interrupt, Fault_Handler, /* NMI, HardFault */
    Fault_Handler, Fault_Handler, Fault_Handler,        0,             /* MemManage, BusFault, UsageFault */
    0,             0,             0,                    unexpected_interrupt,
    unexpected_interrupt, 0,      unexpected_interrupt, unexpected_interrupt,
};
