"""The serial line of every emulated board: bytes go in and out in order, none is lost, nobody waits for one."""

import subprocess
from pathlib import Path

import pytest

from firmware_support import ALL_EMULATED, program
from mcugrad.simulate.run import qemu_command

pytestmark = [pytest.mark.device, pytest.mark.parametrize("board", ALL_EMULATED)]

ECHO = """
#include "uart.h"
int main(void) {
    mg_uart_open();
    mg_uart_put((uint8_t)(mg_uart_get() == -1 ? '-' : '?'));
    mg_uart_put('>');
    for (int32_t left = 600; left;) {
        const int32_t byte = mg_uart_get();
        if (byte < 0) continue;
        mg_uart_put((uint8_t)(byte ^ 0x20));
        left--;
    }
    return 0;
}
"""


def test_every_byte_comes_back(tmp_path: Path, board: str) -> None:
    firmware = program(tmp_path, board, ECHO)
    sent = bytes(range(256)) + bytes(344)
    command = [*qemu_command(firmware.board, "stdio"), "-kernel", str(firmware.elf)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.read(2) == b"->"  # it did not wait for the byte that had not come
        child.stdin.write(sent)
        child.stdin.flush()
        assert child.stdout.read(600) == bytes(byte ^ 0x20 for byte in sent)
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()


def test_its_registers_fault_until_it_is_opened(tmp_path: Path, board: str) -> None:
    firmware = program(tmp_path, board, '#include "uart.h"\nint main(void) { return mg_uart_get(); }')
    command = [*qemu_command(firmware.board), "-kernel", str(firmware.elf)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "reason=data access outside the memory window" in answer.stderr
