/* Where a session comes from and where its result goes: io_semihosting.c on the emulated boards, io_posix.c on the host.
 * Both use the files session.bin, result.bin, cache.bin and checkpoint.bin of the current folder and write progress to stdout. */
#ifndef MG_IO_H
#define MG_IO_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int32_t session, result, log;
} mg_io_t;

bool mg_io_open(mg_io_t *io);
bool mg_io_read(const mg_io_t *io, uint32_t offset, void *to, uint32_t n); /* n bytes at an offset of session.bin */
bool mg_io_write(const mg_io_t *io, const void *from, uint32_t n);         /* appends to result.bin */
bool mg_io_rewind(const mg_io_t *io);                                      /* the next write starts result.bin again */
bool mg_io_close(const mg_io_t *io);                                       /* false: the result may be incomplete */
void mg_io_log(const mg_io_t *io, const char *line);                       /* `line` ends with a newline */
int32_t mg_io_open_cache(void); /* cache.bin, which is there at its full length; a handle, or -1 */
bool mg_io_read_cache(int32_t cache, uint32_t offset, void *to, uint32_t n);
bool mg_io_write_cache(int32_t cache, uint32_t offset, const void *from, uint32_t n);
bool mg_io_save(const void *from, uint32_t n); /* checkpoint.bin anew */
bool mg_io_restore(void *to, uint32_t n);
void mg_io_error(const char *line);                                        /* works without an open io */

#endif
