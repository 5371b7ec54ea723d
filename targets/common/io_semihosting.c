#include "io.h"
#include "semihosting.h"

bool mg_io_open(mg_io_t *io) {
    io->log = mg_semihosting_open_stdout();
    io->session = mg_semihosting_open("session.bin", MG_OPEN_READ);
    io->result = mg_semihosting_open("result.bin", MG_OPEN_WRITE);
    return io->log >= 0 && io->session >= 0 && io->result >= 0;
}

bool mg_io_read(const mg_io_t *io, uint32_t offset, void *to, uint32_t n) {
    return mg_semihosting_seek(io->session, offset) && mg_semihosting_read(io->session, to, n);
}

bool mg_io_write(const mg_io_t *io, const void *from, uint32_t n) { return mg_semihosting_write(io->result, from, n); }

bool mg_io_rewind(const mg_io_t *io) { return mg_semihosting_seek(io->result, 0); }

bool mg_io_close(const mg_io_t *io) { return mg_semihosting_close(io->session) && mg_semihosting_close(io->result); }

int32_t mg_io_open_cache(void) { return mg_semihosting_open("cache.bin", MG_OPEN_UPDATE); }

bool mg_io_read_cache(int32_t cache, uint32_t offset, void *to, uint32_t n) {
    return mg_semihosting_seek(cache, offset) && mg_semihosting_read(cache, to, n);
}

bool mg_io_write_cache(int32_t cache, uint32_t offset, const void *from, uint32_t n) {
    return mg_semihosting_seek(cache, offset) && mg_semihosting_write(cache, from, n);
}

bool mg_io_save(const void *from, uint32_t n) {
    const int32_t file = mg_semihosting_open("checkpoint.bin", MG_OPEN_WRITE);
    return file >= 0 && mg_semihosting_write(file, from, n) && mg_semihosting_close(file);
}

bool mg_io_restore(void *to, uint32_t n) {
    const int32_t file = mg_semihosting_open("checkpoint.bin", MG_OPEN_READ);
    return file >= 0 && mg_semihosting_read(file, to, n) && mg_semihosting_close(file);
}

void mg_io_log(const mg_io_t *io, const char *line) {
    uint32_t n = 0;
    while (line[n]) n++;
    mg_semihosting_write(io->log, line, n);
}

void mg_io_error(const char *line) { mg_semihosting_error(line); }
