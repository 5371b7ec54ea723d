/* A pin of an STM32 (F4, F7, H7) handed to a peripheral. The port's clock is on. */
#ifndef MG_STM32_GPIO_H
#define MG_STM32_GPIO_H

#include "board.h"

#define GPIO_MODER 0x00u
#define GPIO_OSPEEDR 0x08u
#define GPIO_AFRL 0x20u /* AFRH follows */

/* pin 0-15 of the port at `base`, alternate function 0-15 */
static inline void mg_stm32_pin(uint32_t base, uint32_t pin, uint32_t function) {
    volatile uint32_t *const select = mg_register(base + GPIO_AFRL + 4u * (pin / 8u));
    const uint32_t at = 4u * (pin % 8u);
    *select = (*select & ~(15u << at)) | (function << at);
    *mg_register(base + GPIO_OSPEEDR) |= 1u << (2u * pin); /* medium speed */
    volatile uint32_t *const mode = mg_register(base + GPIO_MODER);
    *mode = (*mode & ~(3u << (2u * pin))) | (2u << (2u * pin));
}

#endif
