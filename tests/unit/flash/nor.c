#include "nor.h"

#include <string.h>

nor_t nor;
static uint32_t state = 1;

void nor_seed(uint32_t seed) { state = seed * 2654435761u | 1u; }

uint32_t nor_random(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return below ? (uint32_t)(((uint64_t)state * below) >> 32) : 0;
}

static uint8_t noise(void) { return (uint8_t)nor_random(256); }

static bool rule(bool kept, const char *what) {
    if (!kept && nor.broken == NULL) nor.broken = what;
    return kept;
}

static uint32_t range(void) { return nor_flash.sector_bytes * nor_flash.sectors; }

static bool inside(uint32_t address, uint32_t count) {
    return rule(address <= range() && count <= range() - address, "an address outside the flash");
}

static bool power_fails(void) { return nor.operations++ == nor.cut_at; }

static void set_erased(uint32_t address, uint32_t count) { memset(nor.cells.bytes + address, 0xFF, count); }

static void tear_erase(uint32_t address) {
    uint8_t *const bytes = nor.cells.bytes + address;
    const uint32_t n = nor_flash.sector_bytes;
    if (nor.tear == TEAR_ALL) set_erased(address, n);
    if (nor.tear == TEAR_PREFIX) set_erased(address, nor_random(n + 1));
    for (uint32_t i = 0; i < n; i++) {
        if (nor.tear == TEAR_BITS) bytes[i] |= noise();
        if (nor.tear == TEAR_ZEROS) bytes[i] = 0; /* where an erase begins by programming everything */
        if (nor.tear == TEAR_NOISE) bytes[i] = noise();
    }
    if (nor.tear != TEAR_NOTHING) memset(nor.cells.used + address / nor_flash.program_bytes, 1, n / nor_flash.program_bytes);
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    const uint32_t n = nor_flash.sector_bytes, sector = address / n;
    if (!rule(address % n == 0, "an erase inside a sector") || !inside(address, n)) return false;
    if (power_fails()) {
        tear_erase(address);
        longjmp(nor.off, 1);
    }
    nor.erases[sector]++;
    if (nor.wear[sector] == ERASE_FAILS) return false;
    set_erased(address, n);
    memset(nor.cells.used + address / nor_flash.program_bytes, 0, n / nor_flash.program_bytes);
    if (nor.wear[sector] == BIT_STICKS) nor.cells.bytes[address + nor_random(n)] &= (uint8_t) ~(1u << nor_random(8));
    return true;
}

static void program_unit(uint32_t address, const uint8_t *from, bool torn) {
    const uint32_t unit = nor_flash.program_bytes, prefix = nor_random(unit + 1);
    rule(!nor.cells.used[address / unit], "a unit programmed twice");
    if (torn && nor.tear == TEAR_NOTHING) return;
    nor.cells.used[address / unit] = 1;
    for (uint32_t i = 0; i < unit; i++) {
        uint8_t value = from[i];
        if (torn && nor.tear == TEAR_PREFIX && i >= prefix) value = 0xFF;
        if (torn && nor.tear >= TEAR_BITS) value |= noise();
        nor.cells.bytes[address + i] &= value;
    }
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    (void)context;
    const uint32_t unit = nor_flash.program_bytes;
    const uint8_t *from = bytes;
    if (!rule(address % 32 == 0 && count % 32 == 0 && (uintptr_t)bytes % 4 == 0, "no whole, aligned blocks")) return false;
    if (!inside(address, count)) return false;
    for (uint32_t end = address + count; address < end; address += unit, from += unit) {
        const uint8_t wear = nor.wear[address / nor_flash.sector_bytes];
        if (power_fails()) {
            program_unit(address, from, true);
            longjmp(nor.off, 1);
        }
        if (wear == PROGRAM_FAILS) return false;
        program_unit(address, from, false);
        if (wear == BIT_STAYS) nor.cells.bytes[address + nor_random(unit)] |= (uint8_t)(1u << nor_random(8));
    }
    return true;
}

static bool read(void *context, uint32_t address, void *bytes, uint32_t count) {
    (void)context;
    if (!inside(address, count)) return false;
    for (uint32_t s = 0; s < nor_flash.sectors; s++) {
        const uint32_t begin = s * nor_flash.sector_bytes;
        if (nor.wear[s] == READ_FAILS && address < begin + nor_flash.sector_bytes && begin < address + count) return false;
    }
    memcpy(bytes, nor.cells.bytes + address, count);
    return true;
}

mg_flash_t nor_flash = {.erase = erase, .program = program, .read = read};

void nor_new(uint32_t sector_bytes, uint32_t sectors, uint32_t unit) {
    memset(&nor, 0, sizeof nor);
    memset(nor.cells.bytes, 0xFF, sizeof nor.cells.bytes);
    nor_flash.sector_bytes = sector_bytes;
    nor_flash.sectors = sectors;
    nor_flash.program_bytes = unit;
    nor_power(NEVER, TEAR_NOTHING);
}

void nor_power(uint64_t cut_in, uint32_t tear) {
    nor.cut_at = cut_in == NEVER ? NEVER : nor.operations + cut_in;
    nor.tear = tear;
}

void nor_wears(uint32_t sector, uint32_t how) { nor.wear[sector] = (uint8_t)how; }

const char *nor_broken(void) { return nor.broken; }
