#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "stack.h"
#include "timer.h"

bool mg_io_open(mg_io_t *io) {
    io->log = STDOUT_FILENO;
    io->session = open("session.bin", O_RDONLY);
    io->result = open("result.bin", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    return io->session >= 0 && io->result >= 0;
}

static bool read_all(int file, uint32_t offset, void *to, uint32_t n) {
    unsigned char *next = to;
    while (n) {
        const ssize_t got = pread(file, next, n, (off_t)offset);
        if (got <= 0) return false;
        next += got;
        offset += (uint32_t)got;
        n -= (uint32_t)got;
    }
    return true;
}

bool mg_io_read(const mg_io_t *io, uint32_t offset, void *to, uint32_t n) { return read_all(io->session, offset, to, n); }

static bool write_all(int file, const void *from, size_t n) {
    const unsigned char *next = from;
    while (n) {
        const ssize_t put = write(file, next, n);
        if (put <= 0) return false;
        next += put;
        n -= (size_t)put;
    }
    return true;
}

bool mg_io_write(const mg_io_t *io, const void *from, uint32_t n) { return write_all(io->result, from, n); }

bool mg_io_rewind(const mg_io_t *io) { return lseek(io->result, 0, SEEK_SET) == 0; }

bool mg_io_close(const mg_io_t *io) { return close(io->session) == 0 && close(io->result) == 0; }

int32_t mg_io_open_cache(void) { return open("cache.bin", O_RDWR); }

bool mg_io_read_cache(int32_t cache, uint32_t offset, void *to, uint32_t n) { return read_all(cache, offset, to, n); }

bool mg_io_write_cache(int32_t cache, uint32_t offset, const void *from, uint32_t n) {
    return lseek(cache, (off_t)offset, SEEK_SET) == (off_t)offset && write_all(cache, from, n);
}

bool mg_io_save(const void *from, uint32_t n) {
    const int file = open("checkpoint.bin", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    return file >= 0 && write_all(file, from, n) && close(file) == 0;
}

bool mg_io_restore(void *to, uint32_t n) {
    const int file = open("checkpoint.bin", O_RDONLY);
    return file >= 0 && read_all(file, 0, to, n) && close(file) == 0;
}

void mg_io_log(const mg_io_t *io, const char *line) { (void)write_all(io->log, line, strlen(line)); }

void mg_io_error(const char *line) { (void)write_all(STDERR_FILENO, line, strlen(line)); }

/* The host measures neither time nor stack: its figures would differ from run to run. */
void mg_timer_start(void) {}
uint32_t mg_timer_ticks(void) { return 0; }
uint32_t mg_stack_high_water(void) { return 0; }
uint32_t mg_stack_reserve(void) { return 0; }
