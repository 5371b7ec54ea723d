/* The end of the Pico 2's external flash, through the boot ROM's functions (RP2350 datasheet, section 5.4.8). While they work
 * nothing can be read or executed from flash: `carry_out` runs from RAM, with interrupts off. The ROM programs pages of 256
 * bytes; what is 0xFF in a page stays as it is. The stack of all this is not in the bound: board.toml reserves more. */
#include <string.h>

#include "storage_onchip.h"

#define ROM_LOOKUP 0x16u /* a 16-bit pointer */
#define ARM_SECURE 0x0004u
#define FLASH_START 0x10000000u
#define BLOCK_BYTES (1u << 16)
#define ERASE_BLOCK 0xD8u
#define PAGE_BYTES 256u

/* What the ROM has at a place of its table; ISO C has no cast from an address to a function. */
typedef union {
    uintptr_t address;
    uintptr_t (*lookup)(uint32_t code, uint32_t mask);
    void (*plain)(void);
    void (*erase)(uint32_t offset, size_t count, uint32_t block, uint8_t command);
    void (*program)(uint32_t offset, const uint8_t *bytes, size_t count);
} rom_t;

/* Programs a page, or erases a sector where `page` is NULL. */
__attribute__((noinline, section(".data.carry_out"))) static void carry_out(uint32_t offset, const uint8_t *page) {
    volatile uintptr_t place = ROM_LOOKUP; /* GCC takes so small an address for a null pointer */
    const rom_t rom = {.address = *(const volatile uint16_t *)place};
#define FIND(a, b) {.address = rom.lookup((uint32_t)(a) | ((uint32_t)(b) << 8), ARM_SECURE)}
    const rom_t connect = FIND('I', 'F'), leave_xip = FIND('E', 'X'), flush = FIND('F', 'C'), enter_xip = FIND('C', 'X');
    const rom_t erase = FIND('R', 'E'), program = FIND('R', 'P');
    __asm__ volatile("cpsid i\n dsb\n isb" ::: "memory");
    connect.plain();
    leave_xip.plain();
    if (page == NULL) erase.erase(offset, MG_STORAGE_SECTOR_BYTES, BLOCK_BYTES, ERASE_BLOCK);
    else program.program(offset, page, PAGE_BYTES);
    flush.plain();
    enter_xip.plain();
    __asm__ volatile("dsb\n isb\n cpsie i" ::: "memory");
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    carry_out(MG_STORAGE_BASE - FLASH_START + address, NULL);
    return true;
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    (void)context;
    const uint8_t *from = bytes;
    while (count) {
        uint8_t page[PAGE_BYTES];
        const uint32_t at = address % PAGE_BYTES, room = PAGE_BYTES - at, n = count < room ? count : room;
        memset(page, 0xFF, sizeof page);
        memcpy(page + at, from, n);
        carry_out(MG_STORAGE_BASE - FLASH_START + address - at, page);
        address += n;
        from += n;
        count -= n;
    }
    return true;
}

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, mg_storage_read);

const mg_flash_t *mg_storage_open(void) { return &flash; }
