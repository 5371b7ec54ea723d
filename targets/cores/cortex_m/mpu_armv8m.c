/* The memory window of ARMv8-M: as mpu_armv7m.c, with regions that need not be powers of two. */
#include "board.h"

#define MPU_CTRL 0xE000ED94u
#define MPU_RNR 0xE000ED98u
#define MPU_RBAR 0xE000ED9Cu
#define MPU_RLAR 0xE000EDA0u
#define MPU_MAIR0 0xE000EDC0u

#define NEVER_EXECUTE (1u << 0)
#define READ_WRITE (0u << 1)
#define READ_ONLY (2u << 1)
#define ENABLE 1u
#define NORMAL (0u << 1) /* attribute 0 of MAIR0: cached, write back */
#define DEVICE (1u << 1) /* attribute 1: Device-nGnRE */
#define ATTRIBUTES 0x000004FFu

static void open(uint32_t region, uint32_t begin, uint32_t end, uint32_t access, uint32_t kind) {
    *mg_register(MPU_RNR) = region;
    *mg_register(MPU_RBAR) = begin | access;
    *mg_register(MPU_RLAR) = ((end - 1u) & ~31u) | kind | ENABLE;
    __asm__ volatile("dsb\n isb" ::: "memory");
}

void mg_window_start(void) {
    *mg_register(MPU_MAIR0) = ATTRIBUTES;
    open(0, mg_address(__flash_start), mg_address(__flash_end), READ_ONLY, NORMAL);
    open(1, mg_address(__ram_start), mg_address(__ram_end), READ_WRITE | NEVER_EXECUTE, NORMAL);
    *mg_register(MPU_CTRL) = ENABLE;
    __asm__ volatile("dsb\n isb" ::: "memory");
}

/* In the first region that is free. */
static void open_next(uint32_t begin, uint32_t bytes, uint32_t kind) {
    uint32_t region = 0;
    do *mg_register(MPU_RNR) = region++;
    while (*mg_register(MPU_RLAR) & ENABLE);
    open(region - 1, begin, begin + bytes, READ_WRITE | NEVER_EXECUTE, kind);
}

void mg_window_open(uint32_t device) { open_next(device & ~4095u, 4096u, DEVICE); }

void mg_window_open_memory(uint32_t begin, uint32_t bytes) { open_next(begin, bytes, NORMAL); }
