/* A file of this machine as flash: MCUGRAD_STORAGE of the environment, or storage.bin of the current folder. It behaves
 * like NOR: a sector is erased as a whole, and only what is erased can be programmed. A new file is erased. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage.h"

enum { CHUNK = 32 };

static int open_file(void) {
    const char *const name = getenv("MCUGRAD_STORAGE");
    return open(name != NULL ? name : "storage.bin", O_RDWR | O_CREAT, 0666);
}

/* In a row of chunks: reads each into `to`, or writes `from`, or erases. */
static bool transfer(uint32_t address, void *to, const void *from, uint32_t count) {
    const int file = open_file();
    unsigned char chunk[CHUNK];
    bool done = file >= 0;
    for (uint32_t at = 0, n; done && at < count; at += n) {
        n = count - at < CHUNK ? count - at : CHUNK;
        memset(chunk, 0xFF, n);
        const off_t place = (off_t)address + (off_t)at;
        if (to != NULL) done = pread(file, (unsigned char *)to + at, n, place) == (ssize_t)n;
        else done = pwrite(file, from != NULL ? (const unsigned char *)from + at : chunk, n, place) == (ssize_t)n;
    }
    return (file < 0 || close(file) == 0) && done;
}

static bool erase(void *context, uint32_t address) {
    (void)context;
    return transfer(address, NULL, NULL, MG_STORAGE_SECTOR_BYTES);
}

static bool read_bytes(void *context, uint32_t address, void *bytes, uint32_t count) {
    (void)context;
    return transfer(address, bytes, NULL, count);
}

static bool program(void *context, uint32_t address, const void *bytes, uint32_t count) {
    unsigned char there[CHUNK];
    for (uint32_t at = 0; at < count; at += CHUNK) {
        if (!read_bytes(context, address + at, there, CHUNK)) return false;
        for (uint32_t i = 0; i < CHUNK; i++)
            if (there[i] != 0xFF) return false;
    }
    return transfer(address, NULL, bytes, count);
}

static const mg_flash_t flash = {
    .erase = erase,
    .program = program,
    .read = read_bytes,
    .sector_bytes = MG_STORAGE_SECTOR_BYTES,
    .sectors = MG_STORAGE_BYTES / MG_STORAGE_SECTOR_BYTES,
    .program_bytes = MG_STORAGE_PROGRAM_BYTES,
};

const mg_flash_t *mg_storage_open(void) {
    const int file = open_file();
    const off_t length = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    bool usable = length >= 0 && close(file) == 0;
    for (uint32_t at = 0; usable && length == 0 && at < MG_STORAGE_BYTES; at += MG_STORAGE_SECTOR_BYTES)
        usable = erase(NULL, at);
    return usable ? &flash : NULL;
}
