/* mtime of a RISC-V core-local interruptor, its low word. */
#include "board.h"
#include "timer.h"

void mg_timer_start(void) { mg_window_open(MG_TIMER_BASE); }

uint32_t mg_timer_ticks(void) { return *mg_register(MG_TIMER_BASE); }
