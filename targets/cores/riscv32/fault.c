/* Which fault, at which address, and why, from the machine-mode trap registers (Privileged Architecture, table 3.6). */
#include "fault.h"

#include <stdbool.h>

#include "board.h"

enum { FETCH_ACCESS = 1, ILLEGAL = 2, LOAD_MISALIGNED = 4, LOAD_ACCESS = 5, STORE_MISALIGNED = 6, STORE_ACCESS = 7 };

static const char *reason(uint32_t cause, bool below_stack) {
    if (below_stack) return "stack overflow";
    switch (cause) {
    case FETCH_ACCESS:
        return "instruction fetch outside the memory window";
    case ILLEGAL:
        return "undefined instruction";
    case LOAD_ACCESS:
    case STORE_ACCESS:
        return "data access outside the memory window";
    case LOAD_MISALIGNED:
    case STORE_MISALIGNED:
        return "unaligned access";
    default:
        return "unknown";
    }
}

void mg_fault(uint32_t sp);

__attribute__((used, noreturn)) void mg_fault(uint32_t sp) {
    mg_fault_t fault;
    __asm__ volatile("csrr %0, mtval" : "=r"(fault.address));
    __asm__ volatile("csrr %0, mepc" : "=r"(fault.pc));
    __asm__ volatile("csrr %0, mcause" : "=r"(fault.status));
    if (fault.status == ILLEGAL) fault.address = fault.pc; /* mtval may hold the instruction */
    fault.reason = reason(fault.status, sp < mg_address(__stack_bottom));
    mg_fault_report(&fault);
}
