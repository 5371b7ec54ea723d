/* A NOR flash that can lose its power: programming clears bits, a unit once between two erases; erasing goes by sectors. */
#ifndef NOR_H
#define NOR_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "mg_flash.h"

enum { NOR_BYTES = 1 << 14, NOR_SECTORS = 64 };
/* What a cut leaves of the operation that it meets. */
enum { TEAR_NOTHING, TEAR_ALL, TEAR_PREFIX, TEAR_BITS, TEAR_ZEROS, TEAR_NOISE, TEARS };
/* How a worn sector behaves. */
enum { FINE, ERASE_FAILS, PROGRAM_FAILS, BIT_STICKS, BIT_STAYS, READ_FAILS, WEARS };

typedef struct {
    uint8_t bytes[NOR_BYTES];
    uint8_t used[NOR_BYTES]; /* by unit: programmed, or torn, since the last whole erase */
} cells_t;

typedef struct {
    cells_t cells;
    uint8_t wear[NOR_SECTORS];
    uint32_t erases[NOR_SECTORS];
    uint64_t operations, cut_at; /* sector erases and programmed units; the one that power does not survive */
    uint32_t tear;
    const char *broken; /* the first rule that the log broke, or NULL */
    jmp_buf off;
} nor_t;

extern nor_t nor;
extern mg_flash_t nor_flash;

uint32_t nor_random(uint32_t below);
void nor_seed(uint32_t seed);
void nor_new(uint32_t sector_bytes, uint32_t sectors, uint32_t unit); /* never written, every sector fine, power on */
void nor_power(uint64_t cut_in, uint32_t tear);                        /* on; off at the cut_in-th operation from now */
void nor_wears(uint32_t sector, uint32_t how);
const char *nor_broken(void);

#define NEVER UINT64_MAX

#endif
