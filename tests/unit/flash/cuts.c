/* Cuts the power of saves and looks at what the next boot finds. Every check answers NULL, or what went wrong. */
#include <stdio.h>
#include <string.h>

#include "nor.h"

enum { STATE_BYTES = 512, STEP = 1000 };

typedef struct {
    uint32_t sector_bytes, sectors, unit, state_bytes;
} geometry_t;

const char *every_cut(const geometry_t *g, uint32_t saves, uint32_t seed);
const char *every_cut_of_clear(const geometry_t *g);
const char *random_cuts(uint64_t wanted, uint32_t seed);
const char *rot(const geometry_t *g);
uint64_t cuts(void);

static mg_model_id_t model;
static mg_flash_log_t the_log;
static union {
    uint8_t bytes[STATE_BYTES];
    uint32_t aligned;
} saved, loaded, expected;
static uint64_t count;
static char why[200];

uint64_t cuts(void) { return count; }

static const char *fail(const char *what, uint32_t a, uint32_t b, uint32_t c) {
    snprintf(why, sizeof why, "%s (%u, %u, %u)%s%s", what, a, b, c, nor.broken ? "; rule: " : "", nor.broken ? nor.broken : "");
    return why;
}

static void begin(const geometry_t *g) {
    nor_new(g->sector_bytes, g->sectors, g->unit);
    memset(&model, 0, sizeof model);
    memset(model.hash, 0x5A, sizeof model.hash);
    strcpy(model.name, "simulated");
    model.bytes = g->state_bytes;
}

/* The bytes of a version; version 0 is the factory's. */
static void fill(uint8_t *bytes, uint32_t version) {
    for (uint32_t i = 0; i < model.bytes; i++) bytes[i] = (uint8_t)((version * 2654435761u + i * 40503u) >> 11);
}

static void boot(void) {
    nor_power(NEVER, TEAR_NOTHING);
    memset(&the_log, 0, sizeof the_log);
    the_log.flash = &nor_flash;
    fill(loaded.bytes, 0);
    (void)mg_flash_load(&the_log, &model, loaded.bytes);
}

static bool is_version(uint32_t version) {
    fill(expected.bytes, version);
    return (the_log.found == MG_LOADED) == (version != 0) && memcmp(loaded.bytes, expected.bytes, model.bytes) == 0;
}

/* -1: the power went; else the answer. */
static int save(uint32_t version) {
    fill(saved.bytes, version);
    if (setjmp(nor.off)) return -1;
    return (int)mg_flash_save(&the_log, &model, saved.bytes, version * STEP);
}

static int clear(void) {
    if (setjmp(nor.off)) return -1;
    return mg_flash_clear(&the_log, &model);
}

/* Cuts the save of `version` at operation `op`: the old state or the new one is there, and the next save succeeds. */
static const char *one_cut(uint32_t version, uint64_t op, uint32_t tear) {
    boot();
    nor_power(op, tear);
    if (save(version) != -1) return fail("the power should have gone", version, (uint32_t)op, tear);
    count++;
    boot();
    if (!is_version(version - 1) && !is_version(version)) return fail("neither old nor new", version, (uint32_t)op, tear);
    if (save(version + 1) != MG_SAVED) return fail("no save after the cut", version, (uint32_t)op, tear);
    boot();
    if (!is_version(version + 1)) return fail("lost after the cut", version, (uint32_t)op, tear);
    return nor.broken ? fail("a rule was broken", version, (uint32_t)op, tear) : NULL;
}

const char *every_cut(const geometry_t *g, uint32_t saves, uint32_t seed) {
    nor_seed(seed);
    begin(g);
    for (uint32_t version = 1; version <= saves; version++) {
        const cells_t before = nor.cells;
        boot();
        const uint64_t start = nor.operations;
        if (save(version) != MG_SAVED) return fail("a save failed", version, 0, 0);
        const uint64_t operations = nor.operations - start;
        const cells_t after = nor.cells;
        for (uint64_t op = 0; op < operations; op++)
            for (uint32_t tear = 0; tear < TEARS; tear++) {
                nor.cells = before;
                const char *const wrong = one_cut(version, op, tear);
                if (wrong) return wrong;
            }
        nor.cells = after;
    }
    boot();
    return is_version(saves) ? NULL : fail("the last save is not there", saves, 0, 0);
}

/* A clear that was cut leaves the newest state or nothing, never an older one. */
const char *every_cut_of_clear(const geometry_t *g) {
    begin(g);
    boot();
    for (uint32_t version = 1; version <= 3; version++)
        if (save(version) != MG_SAVED) return fail("a save failed", version, 0, 0);
    const cells_t before = nor.cells;
    for (uint64_t op = 0; op <= g->sectors; op++)
        for (uint32_t tear = 0; tear < TEARS; tear++) {
            nor.cells = before;
            boot();
            nor_power(op, tear);
            const int answer = clear();
            if (answer != (op < g->sectors ? -1 : 1)) return fail("not cleared", (uint32_t)op, tear, 0);
            boot();
            if (!is_version(0) && !is_version(3)) return fail("an older state came back", (uint32_t)op, tear, 0);
            if (op == g->sectors && the_log.found != MG_LOAD_EMPTY) return fail("not empty", 0, 0, 0);
        }
    return nor.broken ? fail("a rule was broken", 0, 0, 0) : NULL;
}

static geometry_t any_geometry(void) {
    geometry_t g = {.sector_bytes = 32 * (1 + nor_random(8)), .unit = 1u << nor_random(6)};
    g.state_bytes = 4 * (1 + nor_random(STATE_BYTES / 4 / 4));
    const uint32_t slot = (64 + g.state_bytes + 4 + 31) / 32 * 32 + 32, each = (slot + g.sector_bytes - 1) / g.sector_bytes;
    g.sectors = each * (2 + nor_random(3)) + nor_random(each);
    return g;
}

/* Some sectors wear out. That a sector with the newest state cannot be read any more is rot, and not asked here. */
static void wear_out(bool from_the_start) {
    const uint32_t how = 1 + nor_random(WEARS - (from_the_start ? 1 : 2));
    for (uint32_t n = 1 + nor_random(2); n; n--) nor.wear[nor_random(nor_flash.sectors)] = (uint8_t)how;
}

static const char *one_history(uint32_t saves) {
    const geometry_t g = any_geometry();
    const uint32_t aging = nor_random(4); /* 1: worn from the start, 2: at some time */
    bool worn = aging == 1;
    uint32_t stored = 0;
    begin(&g);
    if (worn) wear_out(true);
    boot();
    uint64_t usual = (g.state_bytes + 160) / g.unit + 8;
    for (uint32_t version = 1; version <= saves; version++) {
        if (aging == 2 && version == saves / 2) wear_out(false), worn = true;
        const uint64_t start = nor.operations;
        nor_power(nor_random((uint32_t)(usual + usual / 8 + 1)), nor_random(TEARS));
        const int answer = save(version);
        if (answer >= 0) usual = nor.operations - start;
        count += answer < 0;
        if (answer > 0 && !(worn && answer == MG_SAVE_WORN)) return fail("a save failed", version, (uint32_t)answer, worn);
        if (answer == MG_SAVED) stored = version;
        if (answer >= 0 && nor_random(2)) continue; /* the device stays on */
        boot();
        if (answer < 0 && is_version(version)) stored = version;
        if (!is_version(stored)) return fail("neither old nor new", version, stored, worn);
    }
    return nor.broken ? fail("a rule was broken", 0, 0, 0) : NULL;
}

const char *random_cuts(uint64_t wanted, uint32_t seed) {
    nor_seed(seed);
    const uint64_t end = count + wanted;
    while (count < end) {
        const char *const wrong = one_history(40);
        if (wrong) return wrong;
    }
    return NULL;
}

/* Every bit of two slots in turn, the older one's and the newest one's. */
const char *rot(const geometry_t *g) {
    begin(g);
    boot();
    if (save(1) != MG_SAVED || save(2) != MG_SAVED) return fail("a save failed", 0, 0, 0);
    const uint32_t image = (64 + g->state_bytes + 4 + 31) / 32 * 32 + 32;
    const uint32_t slot = (image + g->sector_bytes - 1) / g->sector_bytes * g->sector_bytes;
    for (uint32_t which = 0; which < 2; which++)
        for (uint32_t at = 0; at < image; at++)
            for (uint32_t bit = 0; bit < 8; bit++) {
                const uint32_t flip = 1u << bit;
                nor.cells.bytes[which * slot + at] ^= (uint8_t)flip;
                boot();
                if (!is_version(which ? 1 : 2)) return fail("rot was not found", which, at, flip);
                if (the_log.damaged != 1) return fail("rot was not counted", which, at, flip);
                nor.cells.bytes[which * slot + at] ^= (uint8_t)flip;
            }
    memset(nor.cells.bytes, 0xFF, slot); /* and where there is no older one */
    for (uint32_t at = 0; at < image; at++) {
        nor.cells.bytes[slot + at] ^= 0x10;
        boot();
        if (!is_version(0) || the_log.found != MG_LOAD_DAMAGED) return fail("rot gave a state", at, 0, 0);
        nor.cells.bytes[slot + at] ^= 0x10;
    }
    return nor.broken ? fail("a rule was broken", 0, 0, 0) : NULL;
}
