/* The log of saved states; mg_flash.h has the format and what is promised. */
#include "mg_flash.h"

#include <string.h>

enum { BLOCK = MG_STATE_BLOCK, HEADER = MG_STATE_HEADER, WORDS = BLOCK / 4, LAST = WORDS - 1 };
_Static_assert(sizeof(mg_state_header_t) == HEADER, "mg_flash.h, state_file.py");

/* Not inlined: the code is there once, and the stack of one is free again when the next begins. */
#if defined(__GNUC__)
#define APART static __attribute__((noinline))
#else
#define APART static
#endif

static const uint32_t commit[WORDS] = {MG_STATE_COMMIT, MG_STATE_COMMIT, MG_STATE_COMMIT, MG_STATE_COMMIT,
                                       MG_STATE_COMMIT, MG_STATE_COMMIT, MG_STATE_COMMIT, MG_STATE_COMMIT};

APART bool are_equal(const void *a, const void *b, uint32_t count) {
    const uint8_t *const left = a, *const right = b;
    while (count && left[count - 1] == right[count - 1]) count--;
    return count == 0;
}

/* Bytes of a slot before its commit block. */
static uint32_t image_bytes(uint32_t bytes) { return (HEADER + bytes + 4u + BLOCK - 1u) / BLOCK * BLOCK; }

APART uint32_t slot_sectors(const mg_flash_t *flash, uint32_t bytes) {
    return (image_bytes(bytes) + BLOCK + flash->sector_bytes - 1u) / flash->sector_bytes;
}

static bool read(const mg_flash_t *flash, uint32_t address, void *to, uint32_t count) {
    return count == 0 || flash->read(flash->context, address, to, count);
}

static bool program(const mg_flash_t *flash, uint32_t address, const void *bytes, uint32_t count) {
    return count == 0 || flash->program(flash->context, address, bytes, count);
}

/* ---- what the flash holds ----------------------------------------------------------------------------------- */

/* Whether a state of `bytes` at `address` is whole: its CRC is right, and it was committed. */
APART bool is_whole(const mg_flash_t *flash, uint32_t address, uint32_t bytes) {
    uint32_t block[WORDS] = {0}, crc = 0xFFFFFFFFu;
    const uint32_t end = address + image_bytes(bytes);
    for (; address < end; address += BLOCK) {
        if (!read(flash, address, block, BLOCK)) return false;
        crc = mg_crc32(crc, block, address + BLOCK < end ? BLOCK : BLOCK - 4);
    }
    return block[LAST] == ~crc && read(flash, end, block, BLOCK) && are_equal(block, commit, BLOCK);
}

static bool is_blank(const mg_state_header_t *h) {
    const uint8_t *const bytes = (const uint8_t *)h;
    uint32_t i = 0;
    while (i < HEADER && bytes[i] == 0xFF) i++;
    return i == HEADER;
}

/* What begins at `address`, which is before the end. */
static mg_load_t examine(const mg_flash_t *flash, uint32_t address, const mg_model_id_t *model, mg_state_header_t *h) {
    const uint32_t room = flash->sector_bytes * flash->sectors - address;
    if (room < HEADER || !read(flash, address, h, HEADER)) return MG_LOAD_DAMAGED;
    if (h->magic != MG_STATE_MAGIC) return is_blank(h) ? MG_LOAD_EMPTY : MG_LOAD_DAMAGED;
    if ((h->format & 0xFFFFu) != (~h->format >> 16)) return MG_LOAD_DAMAGED;
    if (h->format != MG_STATE_FORMAT) return MG_LOAD_OTHER_FORMAT;
    if (h->bytes >= room || image_bytes(h->bytes) + BLOCK > room) return MG_LOAD_DAMAGED;
    if (!is_whole(flash, address, h->bytes)) return MG_LOAD_DAMAGED;
    const bool same = are_equal(h->hash, model->hash, sizeof h->hash) && h->bytes == model->bytes;
    return same ? MG_LOADED : MG_LOAD_OTHER_MODEL;
}

static bool is_newer(const mg_flash_log_t *log, uint32_t sequence) {
    return log->found != MG_LOADED || (int32_t)(sequence - log->sequence) > 0;
}

/* Takes in what begins at `sector`. States of other models have other slots, so theirs may begin at any. */
APART void take_in(mg_flash_log_t *log, uint32_t sector, uint32_t per_slot) {
    mg_state_header_t h;
    const mg_load_t found = examine(log->flash, sector * log->flash->sector_bytes, log->model, &h);
    const bool own = sector % per_slot == 0 && sector / per_slot < log->slots;
    if (found == MG_LOADED && own && is_newer(log, h.sequence)) {
        log->found = MG_LOADED;
        log->slot = sector / per_slot;
        log->sequence = h.sequence;
        log->step = h.step;
        log->erases = h.erases;
    }
    if (found == MG_LOAD_DAMAGED && own) log->damaged++;
    const bool counts = own || found == MG_LOAD_OTHER_FORMAT || found == MG_LOAD_OTHER_MODEL;
    if (log->found != MG_LOADED && counts && found > log->found) log->found = found;
}

static bool is_usable(const mg_flash_t *flash) {
    return flash->sector_bytes != 0 && flash->sector_bytes % BLOCK == 0 && flash->program_bytes != 0 &&
           BLOCK % flash->program_bytes == 0 && flash->sectors <= 0x7FFFFFFFu / flash->sector_bytes;
}

/* Reads the whole flash for `model`. */
APART void scan(mg_flash_log_t *log, const mg_model_id_t *model) {
    *log = (mg_flash_log_t){.flash = log->flash, .min_interval = log->min_interval, .model = model};
    log->found = MG_LOAD_NO_FLASH;
    if (log->flash == NULL) return;
    const uint32_t per_slot = is_usable(log->flash) ? slot_sectors(log->flash, model->bytes) : 0;
    log->slots = per_slot ? log->flash->sectors / per_slot : 0;
    log->found = log->slots < 2 ? MG_LOAD_NO_ROOM : MG_LOAD_EMPTY;
    for (uint32_t sector = 0; log->slots >= 2 && sector < log->flash->sectors; sector++) take_in(log, sector, per_slot);
}

mg_load_t mg_flash_load(mg_flash_log_t *log, const mg_model_id_t *model, void *state) {
    scan(log, model);
    if (log->found != MG_LOADED) return log->found;
    const mg_flash_t *const flash = log->flash;
    const uint32_t address = log->slot * slot_sectors(flash, model->bytes) * flash->sector_bytes;
    const uint32_t rest = model->bytes % BLOCK;
    uint32_t block[HEADER / 4];
    if (!read(flash, address, block, HEADER)) return MG_LOAD_BROKEN;
    if (!read(flash, address + HEADER, state, model->bytes)) return MG_LOAD_BROKEN;
    const uint32_t crc = mg_crc32(mg_crc32(0xFFFFFFFFu, block, HEADER), state, model->bytes);
    if (!read(flash, address + HEADER + model->bytes - rest, block, BLOCK)) return MG_LOAD_BROKEN;
    return block[LAST] == ~mg_crc32(crc, (const uint8_t *)block + rest, BLOCK - 4 - rest) ? MG_LOADED : MG_LOAD_BROKEN;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static bool holds(const mg_flash_t *flash, uint32_t address, const void *bytes, uint32_t count) {
    uint32_t block[WORDS];
    for (const uint8_t *next = bytes; count; count -= BLOCK, address += BLOCK, next += BLOCK)
        if (!read(flash, address, block, BLOCK) || !are_equal(block, next, BLOCK)) return false;
    return true;
}

/* Programs whole blocks and reads them back. */
static bool put(const mg_flash_t *flash, uint32_t address, const void *bytes, uint32_t count) {
    return program(flash, address, bytes, count) && holds(flash, address, bytes, count);
}

static bool write_slot(const mg_flash_t *flash, uint32_t slot, const mg_state_header_t *h, const void *state) {
    const uint32_t sectors = slot_sectors(flash, h->bytes), begin = slot * sectors * flash->sector_bytes;
    const uint32_t rest = h->bytes % BLOCK, whole = h->bytes - rest, end = begin + image_bytes(h->bytes);
    uint32_t last[WORDS];
    memset(last, 0xFF, sizeof last);
    memcpy(last, (const uint8_t *)state + whole, rest);
    last[LAST] = ~mg_crc32(mg_crc32(mg_crc32(0xFFFFFFFFu, h, HEADER), state, whole), last, BLOCK - 4);
    for (uint32_t i = 0; i < sectors; i++)
        if (!flash->erase(flash->context, begin + i * flash->sector_bytes)) return false;
    return put(flash, begin, h, HEADER) && put(flash, begin + HEADER, state, whole) &&
           put(flash, end - BLOCK, last, BLOCK) && put(flash, end, commit, BLOCK);
}

/* Training steps since the newest state. A new plan counts from 0 again, so steps before it may be missed. */
static uint32_t steps_since(const mg_flash_log_t *log, uint32_t step) {
    return step >= log->step ? step - log->step : step;
}

static mg_save_t refusal(const mg_flash_log_t *log, uint32_t step) {
    switch (log->found) {
    case MG_LOADED:
        return steps_since(log, step) < log->min_interval ? MG_SAVE_TOO_SOON : MG_SAVED;
    case MG_LOAD_OTHER_FORMAT:
        return MG_SAVE_OTHER_FORMAT;
    case MG_LOAD_OTHER_MODEL:
        return MG_SAVE_OTHER_MODEL;
    case MG_LOAD_NO_ROOM:
        return MG_SAVE_NO_ROOM;
    case MG_LOAD_NO_FLASH:
        return MG_SAVE_NO_FLASH;
    default:
        return MG_SAVED;
    }
}

APART mg_save_t write_next(mg_flash_log_t *log, const void *state, uint32_t step) {
    mg_state_header_t h = {.magic = MG_STATE_MAGIC, .format = MG_STATE_FORMAT, .step = step};
    h.bytes = log->model->bytes;
    memcpy(h.hash, log->model->hash, sizeof h.hash);
    memcpy(h.name, log->model->name, sizeof h.name);
    const bool first = log->found != MG_LOADED;
    const uint32_t newest = first ? log->slots - 1 : log->slot, candidates = first ? log->slots : log->slots - 1;
    for (uint32_t i = 1; i <= candidates; i++) {
        const uint32_t slot = (newest + i) % log->slots;
        h.sequence = log->sequence + i;
        h.erases = ++log->erases;
        if (!write_slot(log->flash, slot, &h, state)) continue;
        log->found = MG_LOADED;
        log->slot = slot;
        log->sequence = h.sequence;
        log->step = step;
        return MG_SAVED;
    }
    return MG_SAVE_WORN;
}

mg_save_t mg_flash_save(mg_flash_log_t *log, const mg_model_id_t *model, const void *state, uint32_t step) {
    if (log->model != model) scan(log, model);
    const mg_save_t refused = refusal(log, step);
    return refused != MG_SAVED ? refused : write_next(log, state, step);
}

bool mg_flash_clear(mg_flash_log_t *log, const mg_model_id_t *model) {
    if (log->model != model) scan(log, model);
    if (log->flash == NULL || log->slots < 2) return false;
    const mg_flash_t *const flash = log->flash;
    const uint32_t first = log->found == MG_LOADED ? (log->slot + 1) * slot_sectors(flash, model->bytes) : 0;
    bool all = true;
    for (uint32_t i = 0; i < flash->sectors; i++)
        all &= flash->erase(flash->context, (first + i) % flash->sectors * flash->sector_bytes);
    log->erases += log->slots;
    log->found = MG_LOAD_EMPTY;
    log->damaged = 0;
    return all;
}
