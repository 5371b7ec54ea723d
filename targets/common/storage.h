/* The flash that a board keeps saved states in (runtime_c/include/mg_flash.h): [storage] of its board.toml. */
#ifndef MG_STORAGE_H
#define MG_STORAGE_H

#include <stddef.h>

#include "mg_flash.h"

#ifdef MG_STORAGE_BYTES
const mg_flash_t *mg_storage_open(void); /* before the first use; a driver's */
#else
static inline const mg_flash_t *mg_storage_open(void) { return NULL; } /* the board has none */
#endif

#endif
