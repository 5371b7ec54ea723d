/* Which fault, at which address, and why, from the System Control Block of ARMv7-M and ARMv8-M. */
#include "fault.h"

#include "board.h"

#define SCB_CFSR 0xE000ED28u
#define SCB_MMFAR 0xE000ED34u
#define SCB_BFAR 0xE000ED38u

#define IACCVIOL (1u << 0)
#define DACCVIOL (1u << 1)
#define MUNSTKERR (1u << 3)
#define MSTKERR (1u << 4)
#define MLSPERR (1u << 5)
#define MMARVALID (1u << 7)
#define IBUSERR (1u << 8)
#define PRECISERR (1u << 9)
#define IMPRECISERR (1u << 10)
#define STKERR (1u << 12)
#define BFARVALID (1u << 15)
#define UNDEFINSTR (1u << 16)
#define INVSTATE (1u << 17)
#define NOCP (1u << 19)
#define STKOF (1u << 20) /* ARMv8-M */
#define UNALIGNED (1u << 24)
#define DIVBYZERO (1u << 25)

static const char *reason(uint32_t cfsr, int below_stack) {
    if (below_stack || (cfsr & (MSTKERR | MLSPERR | STKERR | STKOF))) return "stack overflow";
    if (cfsr & DACCVIOL) return "data access outside the memory window";
    if (cfsr & IACCVIOL) return "instruction fetch outside the memory window";
    if (cfsr & MUNSTKERR) return "damaged stack on return from an exception";
    if (cfsr & (PRECISERR | IMPRECISERR)) return "data bus error";
    if (cfsr & IBUSERR) return "instruction bus error";
    if (cfsr & DIVBYZERO) return "integer division by zero";
    if (cfsr & UNALIGNED) return "unaligned access";
    if (cfsr & UNDEFINSTR) return "undefined instruction";
    if (cfsr & INVSTATE) return "jump to an address that is not Thumb code";
    if (cfsr & NOCP) return "floating-point unit is off";
    return "unknown";
}

void mg_fault(const uint32_t *frame);

/* frame: where the core pushed r0-r3, r12, lr, pc, xPSR; it may lie outside RAM. */
__attribute__((used, noreturn)) void mg_fault(const uint32_t *frame) {
    const uint32_t cfsr = *mg_register(SCB_CFSR);
    const uint32_t sp = mg_address(frame);
    const int below_stack = sp < mg_address(__stack_bottom);
    const int has_frame = sp >= mg_address(__ram_start) && sp <= mg_address(__ram_end) - 32u && !(cfsr & (MSTKERR | STKERR | STKOF));
    uint32_t address = sp;
    if (cfsr & MMARVALID) address = *mg_register(SCB_MMFAR);
    else if (cfsr & BFARVALID) address = *mg_register(SCB_BFAR);
    else if (has_frame) address = frame[6]; /* faults of an instruction itself: its own address */
    const mg_fault_t fault = {address, has_frame ? frame[6] : 0, cfsr, reason(cfsr, below_stack)};
    mg_fault_report(&fault);
}
