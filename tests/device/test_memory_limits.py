"""256 KB and 1 MB are hard: the byte after either faults, what does not fit does not link, the stack cannot leak."""

from pathlib import Path

import pytest

from firmware_support import ALL_EMULATED, program, run_body
from mcugrad.errors import McugradError
from mcugrad.simulate.board import load_board
from mcugrad.simulate.elf import read_elf
from mcugrad.simulate.run import check_output

RAM_BYTES, FLASH_BYTES = 262144, 1048576
CORTEX_M = [name for name in ALL_EMULATED if load_board(name).core.startswith("cortex")]
# Memory the emulator has and the device has not; a peripheral nobody needs.
ELSEWHERE = {"mps2-an386": (0x21000000, 0x40005000), "mps2-an500": (0x21000000, 0x40005000)}
ELSEWHERE |= {"mps2-an505": (0x38100000, 0x50201000), "qemu-riscv32": (0x81000000, 0x10001000)}
BYTE = "volatile uint32_t at = {:#x}u; volatile unsigned char *p = (volatile unsigned char *)mg_register(at);"

pytestmark = [pytest.mark.device, pytest.mark.parametrize("board", ALL_EMULATED)]


def _ram(board: str) -> int:
    memory = load_board(board).memory
    assert memory is not None
    return memory.ram.origin


def _flash(board: str) -> int:
    memory = load_board(board).memory
    assert memory is not None
    return memory.flash.origin


def _fault(folder: Path, board: str, body: str) -> str:
    """The sentence of the fault that `body` ends in."""
    firmware, output = run_body(folder, board, body)
    assert output.exit_code != 0
    with pytest.raises(McugradError) as caught:
        check_output(firmware, output)
    return str(caught.value)


def test_last_byte_of_ram_is_there(tmp_path: Path, board: str) -> None:
    body = BYTE.format(_ram(board) + RAM_BYTES - 1) + 'p[0] = 77; if (p[0] == 77) mg_semihosting_error("kept\\n");'
    _, output = run_body(tmp_path, board, body)
    assert (output.exit_code, output.stderr) == (0, "kept\n")


@pytest.mark.parametrize("access", ["p[0] = 1;", "(void)p[0];"], ids=["write", "read"])
def test_byte_262145_faults(tmp_path: Path, board: str, access: str) -> None:
    sentence = _fault(tmp_path, board, BYTE.format(_ram(board) + RAM_BYTES) + access)
    assert f"address 0x{_ram(board) + RAM_BYTES:08x}" in sentence
    assert "in main()" in sentence
    assert "data access outside the memory window" in sentence
    assert board in sentence


@pytest.mark.parametrize(
    ("place", "access"),
    [
        ("the byte after flash", "(void)p[0];"),
        ("read-only flash", "p[0] = 1;"),
        ("below RAM", "(void)p[0];"),
        ("memory the device has not", "p[0] = 1;"),
        ("a peripheral nobody needs", "(void)p[0];"),
    ],
)
def test_other_addresses_fault(tmp_path: Path, board: str, place: str, access: str) -> None:
    memory, peripheral = ELSEWHERE[board]
    address = {
        "the byte after flash": _flash(board) + FLASH_BYTES,
        "read-only flash": _flash(board) + 64,
        "below RAM": _ram(board) - 1,
        "memory the device has not": memory,
        "a peripheral nobody needs": peripheral,
    }[place]
    assert f"address 0x{address:08x} in main(): data access" in _fault(tmp_path, board, BYTE.format(address) + access)


def test_word_across_the_end_faults(tmp_path: Path, board: str) -> None:
    body = f"volatile uint32_t *p = mg_register({_ram(board) + RAM_BYTES - 2:#x}u); (void)*p;"
    assert "data access outside the memory window" in _fault(tmp_path, board, body)


def test_ram_does_not_execute(tmp_path: Path, board: str) -> None:
    at = _ram(board)
    body = (
        f"union {{ uint32_t address; void (*call)(void); }} u = {{{at + 0x8000 + (board in CORTEX_M):#x}u}}; u.call();"
    )
    assert f"address 0x{at + 0x8000:08x}: instruction fetch outside" in _fault(tmp_path, board, body)


def test_division_by_zero_is_named(tmp_path: Path, board: str) -> None:
    body = "volatile int zero = 0; volatile int x = 7 / zero; return x + 1;"
    if board in CORTEX_M:
        assert "in main(): integer division by zero" in _fault(tmp_path, board, body)
    else:  # RISC-V defines the quotient: -1
        assert run_body(tmp_path, board, body)[1].exit_code == 0


def test_undefined_instruction_is_named(tmp_path: Path, board: str) -> None:
    body = '__asm__ volatile("udf #0");' if board in CORTEX_M else '__asm__ volatile("unimp");'
    assert "in main(): undefined instruction" in _fault(tmp_path, board, body)


def test_stack_overflow_is_caught(tmp_path: Path, board: str) -> None:
    source = """
    static volatile int depth;
    __attribute__((noinline)) static int down(int n) {
        volatile int local[16];
        local[n & 15] = n;
        depth = n;
        return n ? down(n - 1) + local[n & 15] : 0;
    }
    int main(void) { return down(1000000); }
    """
    assert "stack overflow" in _fault(tmp_path, board, source)


def test_large_frame_below_the_stack_is_caught(tmp_path: Path, board: str) -> None:
    assert "stack overflow" in _fault(tmp_path, board, "volatile char big[8192]; big[0] = 1; big[8191] = big[0];")


@pytest.mark.parametrize("offset", [0, -8])
def test_file_cannot_be_read_past_the_end(tmp_path: Path, board: str, offset: int) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(16))
    start = _ram(board) + RAM_BYTES + offset
    body = f"""int32_t f = mg_semihosting_open("data.bin", MG_OPEN_READ);
    union {{ uint32_t address; void *p; }} u = {{{start:#x}u}}; (void)mg_semihosting_read(f, u.p, 16);"""
    assert f"address 0x{start:08x}: file buffer outside the memory window" in _fault(tmp_path, board, body)


def _filled(ram: int, flash: int) -> str:
    """A program with at least so many bytes of .bss and .rodata."""
    return f"""
    extern volatile unsigned char space[{ram}];
    volatile unsigned char space[{ram}];
    extern const unsigned char table[{flash}];
    const unsigned char table[{flash}] = {{1}};
    int main(void) {{ space[{ram} - 1] = table[space[0]]; return space[{ram} - 1] - 1; }}
    """


def test_exactly_256_kb_links_and_runs(tmp_path: Path, board: str) -> None:
    free = RAM_BYTES - load_board(board).stack_reserve
    firmware, output = run_body(tmp_path, board, _filled(free, 8))
    assert firmware.sizes.static + firmware.sizes.stack_reserve == RAM_BYTES
    assert output.exit_code == 0


def test_one_byte_over_256_kb_does_not_link(tmp_path: Path, board: str) -> None:
    with pytest.raises(McugradError, match=f"needs 262152 bytes of SRAM, 8 more than the 262144 of {board}"):
        program(tmp_path, board, _filled(RAM_BYTES - load_board(board).stack_reserve + 1, 8))


def test_exactly_1_mb_links_and_a_double_word_over_does_not(tmp_path: Path, board: str) -> None:
    base = program(tmp_path / "base", board, _filled(8, 8)).sizes
    full = program(tmp_path / "full", board, _filled(8, FLASH_BYTES - base.flash + 8)).sizes
    assert full.flash == full.code + full.const + full.data == FLASH_BYTES
    with pytest.raises(McugradError, match=f"needs 1048584 bytes of flash, 8 more than the 1048576 of {board}"):
        program(tmp_path / "over", board, _filled(8, FLASH_BYTES - base.flash + 16))


def test_linked_window_is_the_described_one(tmp_path: Path, board: str) -> None:
    memory = load_board(board).memory
    assert memory is not None
    assert (memory.ram.size, memory.flash.size) == (RAM_BYTES, FLASH_BYTES)
    symbols = read_elf(program(tmp_path, board, "").elf)
    assert symbols.symbol("__ram_start").value == memory.ram.origin
    assert symbols.symbol("__flash_start").value == memory.flash.origin
