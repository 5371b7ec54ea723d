/* What every board shares: the linker's symbols, the memory window, and how a firmware speaks and ends. */
#ifndef MG_BOARD_H
#define MG_BOARD_H

#include <stdint.h>

#define MG_STACK_PAINT 0xC5C5C5C5u

/* Exit codes seen by the host; main's own are 0 (done) and 2 (refused the session). */
enum { MG_EXIT_FAULT = 70, MG_EXIT_INTERRUPT = 71, MG_EXIT_WINDOW = 72 };

extern uint32_t __stack_bottom[], __stack_top[], __ram_start[], __ram_end[], __flash_start[], __flash_end[];
extern uint32_t __data_start[], __data_end[], __data_load[], __bss_start[], __bss_end[];

static inline uint32_t mg_address(const volatile void *p) { return (uint32_t)(uintptr_t)p; }
static inline volatile uint32_t *mg_register(uint32_t address) { return (volatile uint32_t *)(uintptr_t)address; }

void mg_window_start(void);           /* opens flash and RAM; every other address faults from now on */
void mg_window_open(uint32_t device); /* the 4 KB page of a peripheral's registers, too; its driver calls it */
void mg_window_open_memory(uint32_t begin, uint32_t bytes); /* the same for memory, which is not executed */

void mg_report(const char *text); /* to whoever watches: the host's stderr, or the serial line */
__attribute__((noreturn)) void mg_exit(int code);

#endif
