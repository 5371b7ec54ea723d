/* The memory window, by physical memory protection: flash is read-only, RAM never executes, and the last entry denies
 * what none before it names. Locked entries bind machine mode, in which all of a firmware runs. Flash and RAM have sizes
 * that are powers of two, and origins that are multiples of them. */
#include "board.h"

#define READ 0x01u
#define WRITE 0x02u
#define EXECUTE 0x04u
#define NAPOT 0x18u /* a range of a power of two */
#define LOCKED 0x80u

/* pmpaddr holds bits 33..2 of the origin, with ones below the range's size. */
static uint32_t range(uint32_t begin, uint32_t size) { return (begin >> 2) | ((size >> 3) - 1u); }

#define CASE(entry, group, shift)                                                                                       \
    case entry:                                                                                                        \
        __asm__ volatile("csrw pmpaddr" #entry ", %0\n csrs pmpcfg" #group ", %1\n sfence.vma"                         \
                         :                                                                                             \
                         : "r"(where), "r"((NAPOT | LOCKED | access) << (shift))                                       \
                         : "memory");                                                                                  \
        break;

static void enter(uint32_t entry, uint32_t where, uint32_t access) {
    switch (entry) {
        CASE(0, 0, 0)
        CASE(1, 0, 8)
        CASE(4, 1, 0)
        CASE(5, 1, 8)
        CASE(6, 1, 16)
        CASE(7, 1, 24)
        CASE(15, 3, 24)
    default:
        break;
    }
}

static uint32_t span(const uint32_t *begin, const uint32_t *end) {
    return range(mg_address(begin), mg_address(end) - mg_address(begin));
}

void mg_window_start(void) {
    enter(0, span(__flash_start, __flash_end), READ | EXECUTE);
    enter(1, span(__ram_start, __ram_end), READ | WRITE);
    enter(15, 0xFFFFFFFFu, 0);
}

/* In the first of entries 4 to 7 that is free: those are pmpcfg1's. */
void mg_window_open_memory(uint32_t begin, uint32_t bytes) {
    uint32_t taken, entry = 4;
    __asm__ volatile("csrr %0, pmpcfg1" : "=r"(taken));
    for (; taken; taken >>= 8) entry++;
    enter(entry, range(begin, bytes), READ | WRITE);
}

void mg_window_open(uint32_t device) { mg_window_open_memory(device & ~4095u, 4096u); }
