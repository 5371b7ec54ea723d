/* The end of an STM32F4's or F7's own flash, in sectors (RM0402, section 3.8; RM0385, section 3.7). [storage] gives equal
 * sectors; MG_STORAGE_FIRST_SECTOR is the number of the first. The core stands still while a sector is erased. */
#include "storage_onchip.h"

#define FLASH_KEYR 0x40023C04u
#define FLASH_SR 0x40023C0Cu
#define FLASH_CR 0x40023C10u

#define KEY1 0x45670123u
#define KEY2 0xCDEF89ABu
#define SR_ERRORS 0x000000F2u /* operation, write protection, alignment, parallelism, sequence */
#define SR_BUSY (1u << 16)
#define CR_PROGRAM (1u << 0)
#define CR_ERASE_SECTOR (1u << 1)
#define CR_SECTOR(n) ((n) << 3)
#define CR_WORDS (2u << 8) /* 32 bits at a time: 2.7 to 3.6 V */
#define CR_START (1u << 16)
#define CR_LOCK (1u << 31)

static bool finish(void) {
    __asm__ volatile("dsb" ::: "memory");
    while (*mg_register(FLASH_SR) & SR_BUSY) {
    }
    return !(*mg_register(FLASH_SR) & SR_ERRORS);
}

static void unlock(uint32_t control) {
    if (*mg_register(FLASH_CR) & CR_LOCK) {
        *mg_register(FLASH_KEYR) = KEY1;
        *mg_register(FLASH_KEYR) = KEY2;
    }
    *mg_register(FLASH_SR) = SR_ERRORS; /* of what was before */
    *mg_register(FLASH_CR) = control;
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    const uint32_t sector = MG_STORAGE_FIRST_SECTOR + address / MG_STORAGE_SECTOR_BYTES;
    unlock(CR_ERASE_SECTOR | CR_SECTOR(sector) | CR_WORDS);
    *mg_register(FLASH_CR) |= CR_START;
    const bool done = finish();
    *mg_register(FLASH_CR) = CR_LOCK;
    return done;
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    (void)context;
    const uint32_t *from = bytes;
    bool done = true;
    unlock(CR_PROGRAM | CR_WORDS);
    for (const uint32_t end = address + count; done && address < end; address += 4) {
        *mg_register(MG_STORAGE_BASE + address) = *from++;
        done = finish();
    }
    *mg_register(FLASH_CR) = CR_LOCK;
    return done;
}

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, mg_storage_read);

const mg_flash_t *mg_storage_open(void) { return &flash; }
