/* Arm semihosting: files and text of the host that runs the emulator (or the debug probe). */
#ifndef MG_SEMIHOSTING_H
#define MG_SEMIHOSTING_H

#include <stdbool.h>
#include <stdint.h>

enum { MG_OPEN_READ = 1, MG_OPEN_UPDATE = 3, MG_OPEN_WRITE = 5 }; /* "rb", "r+b", "wb" */

int32_t mg_semihosting_open(const char *path, uint32_t mode); /* a handle, or -1 */
int32_t mg_semihosting_open_stdout(void);
bool mg_semihosting_seek(int32_t handle, uint32_t offset);
bool mg_semihosting_read(int32_t handle, void *to, uint32_t n);          /* all n bytes */
bool mg_semihosting_write(int32_t handle, const void *from, uint32_t n); /* all n bytes */
bool mg_semihosting_close(int32_t handle);
void mg_semihosting_error(const char *text); /* to the host's stderr, no handle needed */
__attribute__((noreturn)) void mg_semihosting_exit(int code);

#endif
