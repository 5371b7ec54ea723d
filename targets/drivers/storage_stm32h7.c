/* The end of bank 2 of an STM32H743's own flash (RM0433, section 4.9). A word of this flash is 32 bytes, with ECC: one that a
 * power cut left half-written reads as a bus error, which `read` turns into its answer. */
#define FLASH_KEYR 0x52002104u
#define FLASH_CR 0x5200210Cu
#define FLASH_SR 0x52002110u
#define FLASH_CLEAR 0x52002114u
#define SCB_CCR 0xE000ED14u

#define CR_LOCK (1u << 0)
#define CR_PROGRAM (1u << 1)
#define CR_ERASE_SECTOR (1u << 2)
#define CR_WORDS (2u << 4) /* 32 bits at a time: any supply */
#define CR_START (1u << 7)
#define CR_SECTOR(n) ((n) << 8)
#define SR_BUSY ((1u << 0) | (1u << 2)) /* and its queue */
#define SR_ERRORS 0x006E0000u           /* protection, sequence, strobe, inconsistency, operation */
#define SR_DOUBLE_ERROR (1u << 26)
#define CCR_BFHFNMIGN (1u << 8)

#include "storage_stm32.h"

static bool read(void *context, uint32_t address, void *bytes, uint32_t count) {
    *mg_register(FLASH_CLEAR) = SR_DOUBLE_ERROR;
    *mg_register(SCB_CCR) |= CCR_BFHFNMIGN;
    __asm__ volatile("cpsid f\n dsb\n isb" ::: "memory");
    const bool done = mg_storage_read(context, address, bytes, count);
    __asm__ volatile("dsb\n cpsie f\n isb" ::: "memory");
    *mg_register(SCB_CCR) &= ~CCR_BFHFNMIGN;
    return done && !(*mg_register(FLASH_SR) & SR_DOUBLE_ERROR);
}

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, read);

const mg_flash_t *mg_storage_open(void) { return &flash; }
