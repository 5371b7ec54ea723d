/* The end of an nRF52840's own flash, in pages of 4 KB (Product Specification 1.8, section 4.3). The core stands still while a
 * page is erased, 85 ms. */
#include "storage_onchip.h"

#define NVMC_READY 0x4001E400u
#define NVMC_CONFIG 0x4001E504u
#define NVMC_ERASEPAGE 0x4001E508u

enum { READ_ONLY = 0, WRITE = 1, ERASE = 2 };

static void wait(void) {
    __asm__ volatile("dsb" ::: "memory");
    while (!(*mg_register(NVMC_READY) & 1u)) {
    }
}

static void allow(uint32_t what) {
    *mg_register(NVMC_CONFIG) = what;
    wait();
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    allow(ERASE);
    *mg_register(NVMC_ERASEPAGE) = MG_STORAGE_BASE + address;
    wait();
    allow(READ_ONLY);
    return true;
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    (void)context;
    const uint32_t *from = bytes;
    allow(WRITE);
    for (const uint32_t end = address + count; address < end; address += 4) {
        *mg_register(MG_STORAGE_BASE + address) = *from++;
        wait();
    }
    allow(READ_ONLY);
    return true;
}

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, mg_storage_read);

const mg_flash_t *mg_storage_open(void) { return &flash; }
