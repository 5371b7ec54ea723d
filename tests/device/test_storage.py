"""A board's flash for saved states: NOR's rules, a file that outlives the emulator, a sentence where there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from firmware_support import ALL_EMULATED, program
from flash_simulator import CRC, LOG
from mcugrad.errors import McugradError
from mcugrad.resources import runtime_dir, targets_dir
from mcugrad.simulate.board import Board, load_board
from mcugrad.simulate.build import build_program
from mcugrad.simulate.run import run_program
from mcugrad.simulate.storage import open_storage, qemu_storage

pytestmark = pytest.mark.device

# Each answers with the number of the first claim that does not hold.
HEAD = """
#include "storage.h"
int main(void);
static uint32_t block[8], found[8], zeros[8];
#define CLAIM(number, claim) if (!(claim)) return number
static bool all(uint32_t value) {
    for (int i = 0; i < 8; i++) if (found[i] != value) return false;
    return true;
}
int main(void) {
    const mg_flash_t *f = mg_storage_open();
    CLAIM(1, f != NULL && f->sectors * f->sector_bytes == 65536u);
    const uint32_t last = (f->sectors - 1) * f->sector_bytes;
    for (int i = 0; i < 8; i++) block[i] = 0x12345678u;
"""
FIRST = """
    CLAIM(2, f->read(f->context, last, found, 32) && all(0xFFFFFFFFu));
    CLAIM(3, f->program(f->context, last, block, 32) && f->read(f->context, last, found, 32) && all(0x12345678u));
    CLAIM(4, !f->program(f->context, last, zeros, 32));
    CLAIM(5, f->program(f->context, last + 32, block, 32) && f->program(f->context, last - 32, block, 32));
    return 0;
}
"""
SECOND = """
    CLAIM(2, f->read(f->context, last, found, 32) && all(0x12345678u));
    CLAIM(3, f->erase(f->context, last) && f->read(f->context, last, found, 32) && all(0xFFFFFFFFu));
    CLAIM(4, f->read(f->context, last - 32, found, 32) && all(0x12345678u));
    CLAIM(5, f->program(f->context, last + 32, zeros, 32));
    return 0;
}
"""


@pytest.mark.parametrize("board", [*ALL_EMULATED, "host"])
def test_it_keeps_what_was_programmed_and_erases_by_sector(tmp_path: Path, board: str) -> None:
    storage = tmp_path / "flash.bin"
    for name, body in (("first", FIRST), ("second", SECOND)):
        firmware = program(tmp_path / name, board, HEAD + body)
        assert run_program(firmware, tmp_path, storage=storage, timeout=60).exit_code == 0
    described = load_board(board).storage
    assert described is not None
    with storage.open("rb") as file:
        file.seek(described.backend_offset + 61440)
        assert file.read(4096) == b"\xff" * 32 + bytes(32) + b"\xff" * 4032


@pytest.mark.parametrize("board", ALL_EMULATED)
def test_its_memory_faults_until_it_is_opened(tmp_path: Path, board: str) -> None:
    target = load_board(board)
    assert target.storage is not None
    firmware = program(tmp_path, board, f"return (int)*mg_register({target.storage.base:#x}u);")
    output = run_program(firmware, tmp_path, storage=tmp_path / "flash.bin", timeout=60)
    assert "reason=data access outside the memory window" in output.stderr


SAVES = (
    f'#include "{LOG}"\n#include "{CRC}"'
    + """
#include "storage.h"
int main(void);
static uint32_t state[100];
static mg_flash_log_t flash_log;
static const mg_model_id_t id = {.bytes = sizeof state};
int main(void) {
    flash_log.flash = mg_storage_open();
    (void)mg_flash_load(&flash_log, &id, state);
    (void)mg_flash_save(&flash_log, &id, state, 0);
    return mg_flash_clear(&flash_log, &id) ? 0 : 1;
}
"""
)
READS = """
#include "storage.h"
int main(void);
static uint32_t state[100];
int main(void) {
    const mg_flash_t *f = mg_storage_open();
    return f->read(f->context, 0, state, 32) && f->program(f->context, 0, state, 32) && f->erase(f->context, 0);
}
"""


@pytest.mark.parametrize("board", ALL_EMULATED)
def test_the_log_takes_the_ram_that_its_header_says(tmp_path: Path, board: str) -> None:
    with_log, without = (
        program(tmp_path / str(i), board, body, check_stack=True) for i, body in enumerate((SAVES, READS))
    )
    assert with_log.sizes.static - without.sizes.static == 40  # mg_flash_log_t
    assert with_log.stack_bound - without.stack_bound <= 320


def without_storage(board: Board) -> Board:
    drivers = tuple(name for name in board.drivers if not name.startswith("storage"))
    return board.model_copy(update={"storage": None, "drivers": drivers})


def test_a_board_without_a_driver_says_so(tmp_path: Path) -> None:
    board = without_storage(load_board("mps2-an386"))
    body = '#include "storage.h"\nint main(void);\nint main(void) { return mg_storage_open() == NULL ? 7 : 8; }'
    firmware = program(tmp_path, board, body)
    assert run_program(firmware, tmp_path, timeout=60).exit_code == 7
    with pytest.raises(
        McugradError, match=r"mps2-an386 has no flash driver, so nothing can be saved on it: add \[storage\]"
    ):
        run_program(firmware, tmp_path, storage=tmp_path / "flash.bin", timeout=60)
    assert not (tmp_path / "flash.bin").exists()


def test_a_file_that_is_no_flash_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_bytes(b"all of it")
    with pytest.raises(
        McugradError, match=r"thesis.txt has 9 bytes and the flash of mps2-an386 16777216: give another"
    ):
        qemu_storage(load_board("mps2-an386"), path)
    assert path.read_bytes() == b"all of it"
    with pytest.raises(McugradError, match="cannot be made the flash of host"):
        open_storage(load_board("host"), tmp_path / "nowhere" / "flash.bin")


def test_the_driver_of_the_nrf_keeps_states_with_qemus_flash_controller(tmp_path: Path) -> None:
    """QEMU has an nRF51, whose controller has the registers of the nRF52840's."""
    own, drivers, runtime = Path(__file__).parent / "nvmc", targets_dir() / "drivers", runtime_dir()
    sizes = {"BASE": 0x3C000, "BYTES": 8 * 1024, "SECTOR_BYTES": 1024, "PROGRAM_BYTES": 4}
    elf = tmp_path / "nvmc.elf"
    command = [
        *("arm-none-eabi-gcc", "-std=c11", "-O2", "-mcpu=cortex-m0", "-mthumb", "-Wall", "-Wextra", "-Werror"),
        *(f"-DMG_STORAGE_{name}={value}u" for name, value in sizes.items()),
        *(f"-I{folder}" for folder in (runtime / "include", targets_dir() / "common")),
        *map(str, (own / "main.c", drivers / "storage_nrf52.c", LOG, CRC)),
        *("-nostartfiles", "-Wl,--gc-sections", "-T", str(own / "link.ld"), "-o", str(elf)),
    ]
    subprocess.run(command, check=True)
    machine = ["qemu-system-arm", "-M", "microbit", "-display", "none", "-monitor", "none", "-serial", "null"]
    done = subprocess.run([*machine, "-semihosting", "-kernel", str(elf)], timeout=60, check=False)
    assert done.returncode == 0, f"claim {done.returncode}"


def test_the_driver_of_the_stm32_does_what_its_manual_asks_for(tmp_path: Path) -> None:
    """QEMU has no such controller: stm32_flash.c answers for its registers."""
    board = without_storage(load_board("mps2-an386"))
    sizes = {"BASE": 0x080C0000, "BYTES": 3 * 512, "SECTOR_BYTES": 512, "PROGRAM_BYTES": 4, "FIRST_SECTOR": 10}
    firmware = build_program(
        [Path(__file__).with_name("stm32_flash.c"), LOG, CRC],
        board,
        build_dir=tmp_path / "build",
        includes=(targets_dir() / "drivers",),
        defines=[f"MG_STORAGE_{name}={value}u" for name, value in sizes.items()],
    )
    assert run_program(firmware, tmp_path, timeout=60).exit_code == 0
