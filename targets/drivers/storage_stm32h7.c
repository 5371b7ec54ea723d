/* The end of bank 2 of an STM32H743's own flash (RM0433, section 4.9). A word of this flash is 32 bytes, with ECC: one that a
 * power cut left half-written reads as a bus error, which `read` turns into its answer. */
#include "storage_onchip.h"

#define FLASH_KEYR2 0x52002104u
#define FLASH_CR2 0x5200210Cu
#define FLASH_SR2 0x52002110u
#define FLASH_CCR2 0x52002114u
#define SCB_CCR 0xE000ED14u

#define KEY1 0x45670123u
#define KEY2 0xCDEF89ABu
#define CR_LOCK (1u << 0)
#define CR_PROGRAM (1u << 1)
#define CR_ERASE_SECTOR (1u << 2)
#define CR_WORDS (2u << 4) /* 32 bits at a time: any supply */
#define CR_START (1u << 7)
#define CR_SECTOR(n) ((n) << 8)
#define SR_BUSY ((1u << 0) | (1u << 2)) /* and its queue */
#define SR_WRITE_ERRORS 0x006E0000u     /* protection, sequence, strobe, inconsistency, operation */
#define SR_DOUBLE_ERROR (1u << 26)
#define CCR_BFHFNMIGN (1u << 8)

static bool finish(void) {
    __asm__ volatile("dsb" ::: "memory");
    while (*mg_register(FLASH_SR2) & SR_BUSY) {
    }
    return !(*mg_register(FLASH_SR2) & SR_WRITE_ERRORS);
}

static void unlock(uint32_t control) {
    if (*mg_register(FLASH_CR2) & CR_LOCK) {
        *mg_register(FLASH_KEYR2) = KEY1;
        *mg_register(FLASH_KEYR2) = KEY2;
    }
    *mg_register(FLASH_CCR2) = SR_WRITE_ERRORS; /* of what was before */
    *mg_register(FLASH_CR2) = control;
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    unlock(CR_ERASE_SECTOR | CR_WORDS | CR_SECTOR(MG_STORAGE_FIRST_SECTOR + address / MG_STORAGE_SECTOR_BYTES));
    *mg_register(FLASH_CR2) |= CR_START;
    const bool done = finish();
    *mg_register(FLASH_CR2) = CR_LOCK;
    return done;
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    (void)context;
    const uint32_t *from = bytes;
    bool done = true;
    unlock(CR_PROGRAM | CR_WORDS);
    for (const uint32_t end = address + count; done && address < end; address += 32) {
        for (uint32_t i = 0; i < 32; i += 4) *mg_register(MG_STORAGE_BASE + address + i) = *from++;
        done = finish();
    }
    *mg_register(FLASH_CR2) = CR_LOCK;
    return done;
}

static bool read(void *context, uint32_t address, void *bytes, uint32_t count) {
    *mg_register(FLASH_CCR2) = SR_DOUBLE_ERROR;
    *mg_register(SCB_CCR) |= CCR_BFHFNMIGN;
    __asm__ volatile("cpsid f\n dsb\n isb" ::: "memory");
    const bool done = mg_storage_read(context, address, bytes, count);
    __asm__ volatile("dsb\n cpsie f\n isb" ::: "memory");
    *mg_register(SCB_CCR) &= ~CCR_BFHFNMIGN;
    return done && !(*mg_register(FLASH_SR2) & SR_DOUBLE_ERROR);
}

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, read);

const mg_flash_t *mg_storage_open(void) { return &flash; }
