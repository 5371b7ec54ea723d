/* A 32-bit tick counter that goes up. The host has none and always answers 0. */
#ifndef MG_TIMER_H
#define MG_TIMER_H

#include <stdint.h>

void mg_timer_start(void);
uint32_t mg_timer_ticks(void);

#endif
