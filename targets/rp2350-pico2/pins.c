/* UART0 on GPIO 0 and 1, clocked by the 12 MHz crystal; and the block by which the boot ROM knows an image. Registers: RP2350
 * datasheet, sections 7.5 (resets), 8.1 (clocks), 8.2 (crystal), 9.11 (pins). */
#include "board.h"
#include "uart_pins.h"

#define CLEAR 0x3000u /* alias of a register: what is written is cleared */
#define CLOCKS_CLK_PERI_CTRL 0x40010048u
#define RESETS_RESET 0x40020000u
#define RESETS_RESET_DONE 0x40020008u
#define IO_BANK0_CTRL(pin) (0x40028004u + 8u * (pin))
#define PADS_BANK0(pin) (0x40038004u + 4u * (pin))
#define XOSC_CTRL 0x40048000u
#define XOSC_STATUS 0x40048004u
#define XOSC_STARTUP 0x4004800Cu

#define NEEDED ((1u << 6) | (1u << 9) | (1u << 26)) /* IO_BANK0, PADS_BANK0, UART0 */
#define XOSC_ENABLE_1_TO_15_MHZ 0x00FABAA0u
#define XOSC_STARTUP_1_MS 47u
#define XOSC_STABLE (1u << 31)
#define CLK_PERI_FROM_XOSC ((1u << 11) | (4u << 5))
#define FUNCTION_UART 2u
#define PAD_INPUT 0x40u /* input enabled, output enabled, no isolation */

static const uint32_t image_definition[] __attribute__((section(".boot_header"), used)) = {
    0xFFFFDED3u, /* start */
    0x10210142u, /* executable, Secure, Arm, RP2350 */
    0x000001FFu, /* last item */
    0x00000000u, /* no other block */
    0xAB123579u, /* end */
};

void mg_uart_pins(void) {
    *mg_register(XOSC_STARTUP) = XOSC_STARTUP_1_MS;
    *mg_register(XOSC_CTRL) = XOSC_ENABLE_1_TO_15_MHZ;
    while (!(*mg_register(XOSC_STATUS) & XOSC_STABLE)) {
    }
    *mg_register(CLOCKS_CLK_PERI_CTRL) = CLK_PERI_FROM_XOSC;
    *mg_register(RESETS_RESET + CLEAR) = NEEDED;
    while ((*mg_register(RESETS_RESET_DONE) & NEEDED) != NEEDED) {
    }
    for (uint32_t pin = 0; pin < 2; pin++) {
        *mg_register(IO_BANK0_CTRL(pin)) = FUNCTION_UART;
        *mg_register(PADS_BANK0(pin)) = PAD_INPUT;
    }
}
