/* What drivers of flash that is read as memory share; [storage] describes it. */
#ifndef MG_STORAGE_ONCHIP_H
#define MG_STORAGE_ONCHIP_H

#include "board.h"
#include "storage.h"

static inline bool mg_storage_read(void *context, uint32_t address, void *bytes, uint32_t count) {
    (void)context;
    uint32_t *to = bytes;
    for (const uint32_t end = address + count; address < end; address += 4) *to++ = *mg_register(MG_STORAGE_BASE + address);
    return true;
}

#define MG_STORAGE_FLASH(erase_, program_, read_)                                                                       \
    {.erase = (erase_),                                                                                                \
     .program = (program_),                                                                                            \
     .read = (read_),                                                                                                  \
     .sector_bytes = MG_STORAGE_SECTOR_BYTES,                                                                          \
     .sectors = MG_STORAGE_BYTES / MG_STORAGE_SECTOR_BYTES,                                                            \
     .program_bytes = MG_STORAGE_PROGRAM_BYTES}

#endif
