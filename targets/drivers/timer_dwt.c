/* The cycle counter of a Cortex-M's debug unit (ARMv7-M Architecture Reference Manual, C1.8). It counts the core's clock. */
#include "board.h"
#include "timer.h"

#define DEMCR 0xE000EDFCu
#define DWT_CTRL 0xE0001000u
#define DWT_CYCCNT 0xE0001004u
#define DWT_LAR 0xE0001FB0u

#define TRACE_ENABLE (1u << 24)
#define COUNT_ENABLE 1u
#define UNLOCK 0xC5ACCE55u /* the Cortex-M7's is locked; elsewhere nothing listens */

void mg_timer_start(void) {
    *mg_register(DEMCR) |= TRACE_ENABLE;
    *mg_register(DWT_LAR) = UNLOCK;
    *mg_register(DWT_CYCCNT) = 0;
    *mg_register(DWT_CTRL) |= COUNT_ENABLE;
}

uint32_t mg_timer_ticks(void) { return *mg_register(DWT_CYCCNT); }
