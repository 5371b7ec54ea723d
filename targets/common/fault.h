/* What a core knows about a fault. */
#ifndef MG_FAULT_H
#define MG_FAULT_H

#include <stdint.h>

typedef struct {
    uint32_t address, pc, status; /* status: the core's own register that says why */
    const char *reason;
} mg_fault_t;

__attribute__((noreturn)) void mg_fault_report(const mg_fault_t *fault);

#endif
