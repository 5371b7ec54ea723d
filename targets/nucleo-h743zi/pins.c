/* USART3 on PD8 and PD9, which the ST-LINK makes a serial port of (UM1974). Registers: RM0433, section 8.7. */
#include "stm32_gpio.h"
#include "uart_pins.h"

#define RCC_AHB4ENR 0x580244E0u
#define RCC_APB1LENR 0x580244E8u
#define AHB4ENR_GPIOD (1u << 3)
#define APB1LENR_USART3 (1u << 18)
#define GPIOD 0x58020C00u

void mg_uart_pins(void) {
    *mg_register(RCC_AHB4ENR) |= AHB4ENR_GPIOD;
    *mg_register(RCC_APB1LENR) |= APB1LENR_USART3;
    (void)*mg_register(RCC_APB1LENR); /* the clock runs two cycles later */
    mg_stm32_pin(GPIOD, 8, 7);
    mg_stm32_pin(GPIOD, 9, 7);
}
