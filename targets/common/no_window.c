/* A real board needs no memory window: what it does not have, faults by itself. */
#include "board.h"

void mg_window_start(void) {}
void mg_window_open(uint32_t device) { (void)device; }
void mg_window_open_memory(uint32_t begin, uint32_t bytes) {
    (void)begin;
    (void)bytes;
}
