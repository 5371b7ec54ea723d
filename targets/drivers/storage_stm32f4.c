/* The end of an STM32F4's or F7's own flash (RM0402, section 3.8; RM0385, section 3.7). The core stands still while a sector
 * is erased. */
#define FLASH_KEYR 0x40023C04u
#define FLASH_SR 0x40023C0Cu
#define FLASH_CR 0x40023C10u
#define FLASH_CLEAR FLASH_SR

#define SR_ERRORS 0x000000F2u /* operation, write protection, alignment, parallelism, sequence */
#define SR_BUSY (1u << 16)
#define CR_PROGRAM (1u << 0)
#define CR_ERASE_SECTOR (1u << 1)
#define CR_SECTOR(n) ((n) << 3)
#define CR_WORDS (2u << 8) /* 32 bits at a time: 2.7 to 3.6 V */
#define CR_START (1u << 16)
#define CR_LOCK (1u << 31)

#include "storage_stm32.h"

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, mg_storage_read);

const mg_flash_t *mg_storage_open(void) { return &flash; }
