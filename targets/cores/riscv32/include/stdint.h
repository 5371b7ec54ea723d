/* GCC's own, which its stdint.h uses only where there is no C library to ask. */
#include <stdint-gcc.h>
