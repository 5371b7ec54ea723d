/* The memory window of ARMv7-M: flash is read-only, RAM never executes, and whatever no region names faults (PRIVDEFENA = 0), so that
 * byte 262,145 of an emulated board with megabytes of memory is as absent as it would be on the real part. */
#include "board.h"

#define MPU_CTRL 0xE000ED94u
#define MPU_RNR 0xE000ED98u
#define MPU_RBAR 0xE000ED9Cu
#define MPU_RASR 0xE000EDA0u

#define READ_ONLY (5u << 24)
#define READ_WRITE (1u << 24)
#define NEVER_EXECUTE (1u << 28)
#define NORMAL (3u << 16) /* cached, write back */
#define DEVICE (1u << 16)
#define ENABLE 1u

/* Covers [begin, end) with regions from number `region` on; PMSAv7 regions are powers of two, aligned to their size. */
static uint32_t cover(uint32_t region, uint32_t begin, uint32_t end, uint32_t attributes) {
    while (begin < end) {
        uint32_t bits = 5;
        while (bits < 31 && (begin & ((2u << bits) - 1)) == 0 && (2u << bits) <= end - begin) bits++;
        *mg_register(MPU_RNR) = region++;
        *mg_register(MPU_RBAR) = begin;
        *mg_register(MPU_RASR) = attributes | ((bits - 1) << 1) | ENABLE;
        begin += 1u << bits;
    }
    return region;
}

void mg_window_start(void) {
    const uint32_t region = cover(0, mg_address(__flash_start), mg_address(__flash_end), READ_ONLY | NORMAL);
    cover(region, mg_address(__ram_start), mg_address(__ram_end), READ_WRITE | NEVER_EXECUTE | NORMAL);
    *mg_register(MPU_CTRL) = ENABLE;
    __asm__ volatile("dsb\n isb" ::: "memory");
}

/* From the first region on that is free. */
static void open(uint32_t begin, uint32_t bytes, uint32_t kind) {
    uint32_t region = 0;
    do *mg_register(MPU_RNR) = region++;
    while (*mg_register(MPU_RASR) & ENABLE);
    cover(region - 1, begin, begin + bytes, READ_WRITE | NEVER_EXECUTE | kind);
    __asm__ volatile("dsb\n isb" ::: "memory");
}

void mg_window_open(uint32_t device) { open(device & ~4095u, 4096u, DEVICE); }

void mg_window_open_memory(uint32_t begin, uint32_t bytes) { open(begin, bytes, NORMAL); }
