/* The painted stack; on a host, where nothing is painted, both are 0. */
#ifndef MG_STACK_H
#define MG_STACK_H

#include <stdint.h>

uint32_t mg_stack_high_water(void); /* bytes of stack ever touched */
uint32_t mg_stack_reserve(void);    /* bytes set aside for it */

#endif
