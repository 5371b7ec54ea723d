/* The end of the Pico 2's external flash, through the boot ROM's functions (RP2350 datasheet, section 5.4.8). While they work
 * nothing can be read or executed from flash: `during` runs from RAM, with interrupts off. The ROM programs pages of 256
 * bytes; what is 0xFF in a page stays as it is. */
#include <string.h>

#include "storage_onchip.h"

#define ROM_LOOKUP 0x00000016u /* a 16-bit pointer */
#define ARM_SECURE 0x0004u
#define CODE(a, b) ((uint32_t)(a) | ((uint32_t)(b) << 8))
#define FLASH_START 0x10000000u
#define BLOCK_BYTES (1u << 16)
#define ERASE_BLOCK 0xD8u
#define PAGE_BYTES 256u

typedef void *(*lookup_t)(uint32_t code, uint32_t mask);
typedef void (*plain_t)(void);
typedef void (*erase_t)(uint32_t offset, size_t count, uint32_t block, uint8_t command);
typedef void (*program_t)(uint32_t offset, const uint8_t *bytes, size_t count);

typedef struct {
    plain_t connect, leave_xip, flush, enter_xip;
    erase_t erase;
    program_t program;
    uint32_t offset;
    const uint8_t *bytes; /* NULL: erase */
} order_t;

/* A function pointer of the ROM's; ISO C has no cast from void *. */
#define FIND(to, a, b)                                                                                                  \
    do {                                                                                                               \
        void *const found = lookup(CODE(a, b), ARM_SECURE);                                                            \
        memcpy(&(to), &found, sizeof(to));                                                                             \
    } while (0)

__attribute__((noinline, long_call, section(".data.during"))) static void during(const order_t *order) {
    order->connect();
    order->leave_xip();
    if (order->bytes == NULL) order->erase(order->offset, MG_STORAGE_SECTOR_BYTES, BLOCK_BYTES, ERASE_BLOCK);
    else order->program(order->offset, order->bytes, PAGE_BYTES);
    order->flush();
    order->enter_xip();
}

static void carry_out(uint32_t address, const uint8_t *bytes) {
    volatile uintptr_t place = ROM_LOOKUP; /* GCC takes so small an address for a null pointer */
    const uintptr_t entry = *(const volatile uint16_t *)place;
    lookup_t lookup;
    memcpy(&lookup, &entry, sizeof lookup);
    order_t order = {.offset = MG_STORAGE_BASE - FLASH_START + address, .bytes = bytes};
    FIND(order.connect, 'I', 'F');
    FIND(order.leave_xip, 'E', 'X');
    FIND(order.flush, 'F', 'C');
    FIND(order.enter_xip, 'C', 'X');
    FIND(order.erase, 'R', 'E');
    FIND(order.program, 'R', 'P');
    __asm__ volatile("cpsid i\n dsb\n isb" ::: "memory");
    during(&order);
    __asm__ volatile("dsb\n isb\n cpsie i" ::: "memory");
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    carry_out(address, NULL);
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
        carry_out(address - at, page);
        address += n;
        from += n;
        count -= n;
    }
    return true;
}

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, mg_storage_read);

const mg_flash_t *mg_storage_open(void) { return &flash; }
