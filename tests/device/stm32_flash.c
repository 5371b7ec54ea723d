/* A driver of the STM32's flash beside registers that answer as RM0402 says: the driver is included with mg_register as a
 * function, and what its last access did takes effect with the next one. The exit code is the number of the first claim that
 * does not hold, or 0. */
#include "board.h"
#include "storage.h"

#define CLAIM(number, claim) if (!(claim)) return number
#define KEYR 0x40023C04u
#define SR 0x40023C0Cu
#define CR 0x40023C10u
#define LOCK (1u << 31)
#define START (1u << 16)
#define BUSY (1u << 16)

int main(void);
volatile uint32_t *registers(uint32_t address);

static uint32_t cells[MG_STORAGE_BYTES / 4], keyr, sr, cr = LOCK, last_cr = LOCK, keys, busy, window, at;
static uint32_t broken; /* the number of the last rule that was broken */

static void rule(uint32_t number, bool kept) {
    if (!kept) broken = number;
}

static void take_key(void) {
    if (!keyr) return;
    rule(1, keyr == (keys == 0 ? 0x45670123u : 0xCDEF89ABu) && (cr & LOCK));
    if (++keys == 2) last_cr = cr = 0;
    keyr = 0;
}

static void take_control(void) {
    if (cr == last_cr) return;
    rule(2, !(last_cr & LOCK) && busy == 0);
    if (cr & START) {
        const uint32_t sector = ((cr >> 3) & 15u) - MG_STORAGE_FIRST_SECTOR;
        rule(3, (cr & 3u) == 2u && sector < MG_STORAGE_BYTES / MG_STORAGE_SECTOR_BYTES);
        for (uint32_t i = 0; i < MG_STORAGE_SECTOR_BYTES / 4; i++) cells[sector * (MG_STORAGE_SECTOR_BYTES / 4) + i] = ~0u;
        window = cells[at];
        cr &= ~START;
        busy = 3;
    }
    if (cr & LOCK) keys = 0;
    last_cr = cr;
}

static void take_word(void) {
    if (window == cells[at]) return;
    rule(4, cr == ((2u << 8) | 1u) && busy == 0 && cells[at] == ~0u);
    cells[at] &= window;
    busy = 3;
}

volatile uint32_t *registers(uint32_t address) {
    take_key();
    take_word();
    take_control();
    sr = busy ? BUSY : 0;
    busy -= address == SR && busy;
    if (address == KEYR) return &keyr;
    if (address == SR) return &sr;
    if (address == CR) return &cr;
    rule(5, address >= MG_STORAGE_BASE && address - MG_STORAGE_BASE < MG_STORAGE_BYTES);
    at = (address - MG_STORAGE_BASE) / 4;
    window = cells[at];
    return &window;
}

#define mg_register registers
#include "storage_stm32f4.c"

static uint32_t state[50];
static mg_flash_log_t flash_log;
static const mg_model_id_t id = {.hash = {1, 2, 3}, .name = "model", .bytes = sizeof state};

static mg_load_t boot(void) {
    flash_log = (mg_flash_log_t){.flash = mg_storage_open()};
    state[7] = 0;
    return mg_flash_load(&flash_log, &id, state);
}

int main(void) {
    CLAIM(11, boot() == MG_LOAD_DAMAGED); /* the cells are zero */
    for (uint32_t version = 1; version <= 9; version++) {
        state[7] = version;
        CLAIM(12, mg_flash_save(&flash_log, &id, state, version) == MG_SAVED);
        CLAIM(13, boot() == MG_LOADED && state[7] == version && flash_log.slot == (version - 1) % 3);
    }
    CLAIM(14, mg_flash_clear(&flash_log, &id) && boot() == MG_LOAD_EMPTY && (cr & LOCK));
    return (int)broken;
}
