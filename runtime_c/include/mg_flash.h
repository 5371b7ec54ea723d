/* A log of saved states in flash. A power cut at any moment leaves the old state or the new one, whole.
 *
 * The flash is a range of equal sectors behind three functions of yours. A state takes a slot, the fewest whole sectors
 * that hold it; the range has as many slots as fit, two at least, and they are used in turn. The slot with the newest
 * state is never erased, and nothing is programmed twice between two erases. Where the power may leave a bit that reads
 * differently from boot to boot, have three slots: a commit that such a bit hides again costs one save then, not all.
 *
 * A slot, little endian, in blocks of 32 bytes, which every program unit divides:
 *      0  mg_state_header_t, 64 bytes
 *     64  the state, then 0xFF until 4 bytes of a block are left
 *    n-4  CRC-32 (IEEE 802.3) of all before it
 *      n  MG_STATE_COMMIT eight times: programmed last, after the rest has been read back
 * A .state file is the first n bytes (compiler/mcugrad/state_file.py).
 *
 * RAM: sizeof(mg_flash_log_t), and at most 320 bytes of stack beside your functions'; no heap and no copy of the state.
 */
#ifndef MG_FLASH_H
#define MG_FLASH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MG_STATE_MAGIC 0x5453474Du  /* "MGST" */
#define MG_STATE_FORMAT 0xFFFE0001u /* 1 below its complement: a word that was programmed by half is no format */
#define MG_STATE_COMMIT 0x454E4F44u /* "DONE" */
enum { MG_STATE_HEADER = 64, MG_STATE_BLOCK = 32 };

/* A flash driver. Addresses count bytes from the first sector; programmed are whole blocks, aligned to 4 in RAM. False:
 * it failed (an erase or program error, an ECC error of a read), and a save takes another slot. Functions return when
 * the flash is done, and a read never answers from a cache what was there before. */
typedef struct {
    bool (*erase)(void *context, uint32_t address); /* the sector that begins there: every byte becomes 0xFF */
    bool (*program)(void *context, uint32_t address, const void *bytes, uint32_t count);
    bool (*read)(void *context, uint32_t address, void *bytes, uint32_t count);
    void *context;
    uint32_t sector_bytes, sectors; /* a multiple of 32; together below 2^31 */
    uint32_t program_bytes;         /* the smallest unit: a power of two, 1 to 32 */
} mg_flash_t;

/* Whose state it is: the same hash means the same network, factory weights, scales, scheme and layout of the state. */
typedef struct {
    uint8_t hash[16]; /* the first bytes of a SHA-256 */
    char name[24];    /* for people; ends with a zero */
    uint32_t bytes;   /* of the state, a multiple of 4 */
} mg_model_id_t;

typedef struct {
    uint32_t magic, format;
    uint8_t hash[16];
    uint32_t sequence; /* one higher with each save, and newer across the wrap at 2^32 too */
    uint32_t bytes;    /* of the state */
    uint32_t erases;   /* slots erased in this flash so far, all together */
    uint32_t step;     /* of the training's plan */
    char name[24];
} mg_state_header_t;

typedef enum {
    MG_LOADED = 0,
    MG_LOAD_EMPTY,        /* nothing was ever saved */
    MG_LOAD_DAMAGED,      /* something is there, and no state that is whole */
    MG_LOAD_OTHER_FORMAT, /* states that another version of this log wrote */
    MG_LOAD_OTHER_MODEL,  /* states of another model */
    MG_LOAD_BROKEN,       /* the flash read differently the second time */
    MG_LOAD_NO_ROOM,      /* the flash has no two slots of this size, or its description is wrong */
    MG_LOAD_NO_FLASH      /* the board has no flash driver */
} mg_load_t;

typedef enum {
    MG_SAVED = 0,
    MG_SAVE_TOO_SOON,     /* min_interval */
    MG_SAVE_WORN,         /* every slot failed but the newest state's, which is still there */
    MG_SAVE_OTHER_FORMAT, /* the flash has states that this save would overwrite: mg_flash_clear if they may go */
    MG_SAVE_OTHER_MODEL,  /* the same */
    MG_SAVE_NO_ROOM,
    MG_SAVE_NO_FLASH
} mg_save_t;

/* A log, of one model. Set the first two fields, the rest to zero. */
typedef struct {
    const mg_flash_t *flash;    /* NULL: the board has no driver */
    uint32_t min_interval;      /* training steps between two saves, so that no loop wears the flash out; 0: any */
    const mg_model_id_t *model; /* from here on what the log knows, once it has read the flash for this model */
    mg_load_t found;            /* MG_LOADED: there is a state; else why there is none */
    uint32_t slots, slot;       /* how many the flash has; the newest state's */
    uint32_t sequence, step;    /* of the newest state */
    uint32_t erases;            /* as in the header; an erase that a power cut ended is not counted */
    uint32_t damaged;           /* slots with something in them and no whole state: a cut save, or rot */
} mg_flash_log_t;

/* The newest whole state of `model` into `state`, model->bytes of them. Unless the answer is MG_LOADED, `state` is as
 * it was; after MG_LOAD_BROKEN it is no state. */
mg_load_t mg_flash_load(mg_flash_log_t *log, const mg_model_id_t *model, void *state);
/* Saves `state`, which is at `step` of its plan and stands still meanwhile. Unless the answer is MG_SAVED, the flash's
 * newest state is the one that was. */
mg_save_t mg_flash_save(mg_flash_log_t *log, const mg_model_id_t *model, const void *state, uint32_t step);
/* Erases every sector, the newest state of `model` last. False: a sector failed. The count of erases goes on if a save
 * follows before the power goes. */
bool mg_flash_clear(mg_flash_log_t *log, const mg_model_id_t *model);

/* CRC-32 (IEEE 802.3) without its first and last complement: start with 0xFFFFFFFF. */
uint32_t mg_crc32(uint32_t crc, const void *bytes, uint32_t count);

#ifdef __cplusplus
}
#endif
#endif
