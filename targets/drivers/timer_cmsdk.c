/* CMSDK APB timer: counts down from its reload value at the system clock. */
#include "timer.h"

#include "board.h"

#define TIMER_CTRL (MG_TIMER_BASE + 0x0u)
#define TIMER_VALUE (MG_TIMER_BASE + 0x4u)
#define TIMER_RELOAD (MG_TIMER_BASE + 0x8u)

void mg_timer_start(void) {
    mg_window_open(MG_TIMER_BASE);
    *mg_register(TIMER_CTRL) = 0;
    *mg_register(TIMER_RELOAD) = 0xFFFFFFFFu;
    *mg_register(TIMER_VALUE) = 0xFFFFFFFFu;
    *mg_register(TIMER_CTRL) = 1u;
}

uint32_t mg_timer_ticks(void) { return 0xFFFFFFFFu - *mg_register(TIMER_VALUE); }
