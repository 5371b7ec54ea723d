/* Memory of an emulated board as flash. QEMU can keep it in a file: however QEMU ends, what was written stays. It
 * behaves like NOR: a sector is erased as a whole, and only what is erased can be programmed. */
#include "storage_onchip.h"

static volatile uint32_t *cell(uint32_t address) { return mg_register(MG_STORAGE_BASE + address); }

static bool erase(void *context, uint32_t address) {
    (void)context;
    for (uint32_t i = 0; i < MG_STORAGE_SECTOR_BYTES; i += 4) *cell(address + i) = 0xFFFFFFFFu;
    return true;
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    (void)context;
    const uint32_t *from = bytes;
    for (const uint32_t end = address + count; address < end; address += 4) {
        if (*cell(address) != 0xFFFFFFFFu) return false;
        *cell(address) = *from++;
    }
    return true;
}

static const mg_flash_t flash = MG_STORAGE_FLASH(erase, program, mg_storage_read);

const mg_flash_t *mg_storage_open(void) {
    mg_window_open_memory(MG_STORAGE_BASE, MG_STORAGE_BYTES);
    return &flash;
}
