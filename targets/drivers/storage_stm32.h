/* The flash controller that the STM32 families share: it is unlocked by two keys, erases by the number of a sector, and is
 * asked after each word whether it is done. The file that includes this says before where its registers are (FLASH_KEYR,
 * FLASH_CR, FLASH_SR, and FLASH_CLEAR, where errors are cleared by ones) and what their bits are (CR_, SR_). A word has
 * MG_STORAGE_PROGRAM_BYTES; [storage] gives equal sectors, and MG_STORAGE_FIRST_SECTOR is the number of the first. */
#ifndef MG_STORAGE_STM32_H
#define MG_STORAGE_STM32_H

#include "storage_onchip.h"

#define KEY1 0x45670123u
#define KEY2 0xCDEF89ABu

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
    *mg_register(FLASH_CLEAR) = SR_ERRORS; /* of what was before */
    *mg_register(FLASH_CR) = control;
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    unlock(CR_ERASE_SECTOR | CR_WORDS | CR_SECTOR(MG_STORAGE_FIRST_SECTOR + address / MG_STORAGE_SECTOR_BYTES));
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
    for (const uint32_t end = address + count; done && address < end;) {
        for (const uint32_t word = address + MG_STORAGE_PROGRAM_BYTES; address < word; address += 4)
            *mg_register(MG_STORAGE_BASE + address) = *from++;
        done = finish();
    }
    *mg_register(FLASH_CR) = CR_LOCK;
    return done;
}

#endif
