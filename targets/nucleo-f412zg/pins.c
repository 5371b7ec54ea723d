/* USART3 on PD8 and PD9, which the ST-LINK makes a serial port of (UM1974). Registers: RM0402, section 6.3. */
#include "stm32_gpio.h"
#include "uart_pins.h"

#define RCC_AHB1ENR 0x40023830u
#define RCC_APB1ENR 0x40023840u
#define AHB1ENR_GPIOD (1u << 3)
#define APB1ENR_USART3 (1u << 18)
#define GPIOD 0x40020C00u

void mg_uart_pins(void) {
    *mg_register(RCC_AHB1ENR) |= AHB1ENR_GPIOD;
    *mg_register(RCC_APB1ENR) |= APB1ENR_USART3;
    (void)*mg_register(RCC_APB1ENR); /* the clock runs two cycles later */
    mg_stm32_pin(GPIOD, 8, 7);
    mg_stm32_pin(GPIOD, 9, 7);
}
