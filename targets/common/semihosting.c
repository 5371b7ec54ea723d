#include "semihosting.h"

#include "board.h"
#include "line.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0A,
    SYS_EXIT_EXTENDED = 0x20,
    APPLICATION_EXIT = 0x20026
};

#if defined(__riscv)
#define RESULT "a0"
#define ARGUMENT "a1"
/* The three instructions as the RISC-V semihosting specification has them: uncompressed, within one page. */
#define TRAP ".option push\n .option norvc\n .balign 16\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop"
#else
#define RESULT "r0"
#define ARGUMENT "r1"
#define TRAP "bkpt 0xab"
#endif

__attribute__((noinline)) static int32_t call(uint32_t operation, const void *argument) {
    register uint32_t result __asm__(RESULT) = operation;
    register const void *block __asm__(ARGUMENT) = argument;
    __asm__ volatile(TRAP : "+r"(result) : "r"(block) : "memory");
    return (int32_t)result;
}

/* The host copies through the debug port, which the MPU does not see: without this check a buffer past the end of RAM
 * would be read and written without a fault. */
static bool inside(const void *p, uint32_t n, const uint32_t *start, const uint32_t *end) {
    const uint32_t address = mg_address(p);
    return address >= mg_address(start) && address <= mg_address(end) && n <= mg_address(end) - address;
}

static void require_window(bool allowed, const void *p) {
    if (allowed) return;
    mg_line_t line;
    mg_line_begin(&line, "@mcugrad fault address=");
    mg_line_hex(&line, mg_address(p));
    mg_line_text(&line, " reason=file buffer outside the memory window");
    mg_semihosting_error(mg_line_end(&line));
    mg_semihosting_exit(MG_EXIT_WINDOW);
}

int32_t mg_semihosting_open(const char *path, uint32_t mode) {
    uint32_t length = 0;
    while (path[length]) length++;
    const uint32_t block[3] = {mg_address(path), mode, length};
    return call(SYS_OPEN, block);
}

int32_t mg_semihosting_open_stdout(void) { return mg_semihosting_open(":tt", MG_OPEN_WRITE - 1); }

bool mg_semihosting_seek(int32_t handle, uint32_t offset) {
    const uint32_t block[2] = {(uint32_t)handle, offset};
    return call(SYS_SEEK, block) == 0;
}

bool mg_semihosting_read(int32_t handle, void *to, uint32_t n) {
    require_window(inside(to, n, __ram_start, __ram_end), to);
    const uint32_t block[3] = {(uint32_t)handle, mg_address(to), n};
    return call(SYS_READ, block) == 0; /* the number of bytes that were not read */
}

bool mg_semihosting_write(int32_t handle, const void *from, uint32_t n) {
    require_window(inside(from, n, __ram_start, __ram_end) || inside(from, n, __flash_start, __flash_end), from);
    const uint32_t block[3] = {(uint32_t)handle, mg_address(from), n};
    return call(SYS_WRITE, block) == 0;
}

bool mg_semihosting_close(int32_t handle) {
    const uint32_t block[1] = {(uint32_t)handle};
    return call(SYS_CLOSE, block) == 0;
}

void mg_semihosting_error(const char *text) { call(SYS_WRITE0, text); }

void mg_semihosting_exit(int code) {
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
    call(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

void mg_report(const char *text) { mg_semihosting_error(text); }
void mg_exit(int code) { mg_semihosting_exit(code); }
