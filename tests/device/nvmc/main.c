/* The nRF driver and the log on QEMU's BBC micro:bit, whose flash controller is the nRF51's: the same registers, pages of 1 KB.
 * The exit code is the number of the first claim that does not hold, or 0. */
#include "storage.h"

#define CLAIM(number, claim) if (!(claim)) return number

extern uint32_t __stack_top[];
int main(void);
void Reset_Handler(void);
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int value, size_t n);

static uint32_t state[100], before[100];
static mg_flash_log_t flash_log;
static const mg_model_id_t id = {.hash = {1, 2, 3}, .name = "model", .bytes = sizeof state};

static void fill(uint32_t version) {
    for (uint32_t i = 0; i < 100; i++) state[i] = before[i] = version * 1000u + i;
}

static bool same(void) {
    for (uint32_t i = 0; i < 100; i++)
        if (state[i] != before[i]) return false;
    return true;
}

static mg_load_t boot(void) {
    flash_log = (mg_flash_log_t){.flash = mg_storage_open()};
    for (uint32_t i = 0; i < 100; i++) state[i] = 0;
    return mg_flash_load(&flash_log, &id, state);
}

int main(void) {
    const mg_flash_t *const flash = mg_storage_open();
    CLAIM(1, boot() == MG_LOAD_DAMAGED && mg_flash_clear(&flash_log, &id) && boot() == MG_LOAD_EMPTY); /* QEMU's is zero */
    for (uint32_t version = 1; version <= 20; version++) {
        fill(version);
        CLAIM(2, mg_flash_save(&flash_log, &id, state, version) == MG_SAVED);
        CLAIM(3, boot() == MG_LOADED && same() && flash_log.step == version);
    }
    CLAIM(4, flash_log.slots == 8 && flash_log.slot == 19 % 8 && flash_log.erases == 20 && flash_log.damaged == 0);
    *(volatile uint32_t *)(MG_STORAGE_BASE + flash_log.slot * 1024u + 200u) = 0; /* not in the mode for it: nothing happens */
    CLAIM(5, boot() == MG_LOADED && same());
    CLAIM(6, flash->program(NULL, flash_log.slot * 1024u + 192u, (const uint32_t[8]){0}, 32)); /* rot */
    CLAIM(7, boot() == MG_LOADED && flash_log.step == 19 && flash_log.damaged == 1);
    CLAIM(8, mg_flash_clear(&flash_log, &id) && boot() == MG_LOAD_EMPTY);
    return 0;
}


__attribute__((noreturn)) void Reset_Handler(void) {
    static uint32_t block[2];
    block[0] = 0x20026u; /* ADP_Stopped_ApplicationExit */
    block[1] = (uint32_t)main();
    register uint32_t operation __asm__("r0") = 0x20u; /* SYS_EXIT_EXTENDED */
    register uint32_t *argument __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : : "r"(operation), "r"(argument) : "memory");
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void *const vectors[2] = {__stack_top, Reset_Handler};
