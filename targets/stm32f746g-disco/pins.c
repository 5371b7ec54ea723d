/* USART1 on PA9 and PB7, which the ST-LINK makes a serial port of (UM1907). Registers: RM0385, section 5.3. */
#include "stm32_gpio.h"
#include "uart_pins.h"

#define RCC_AHB1ENR 0x40023830u
#define RCC_APB2ENR 0x40023844u
#define AHB1ENR_GPIOA_GPIOB 3u
#define APB2ENR_USART1 (1u << 4)
#define GPIOA 0x40020000u
#define GPIOB 0x40020400u

void mg_uart_pins(void) {
    *mg_register(RCC_AHB1ENR) |= AHB1ENR_GPIOA_GPIOB;
    *mg_register(RCC_APB2ENR) |= APB2ENR_USART1;
    (void)*mg_register(RCC_APB2ENR); /* the clock runs two cycles later */
    mg_stm32_pin(GPIOA, 9, 7);
    mg_stm32_pin(GPIOB, 7, 7);
}
