"""Every board of targets/: the emulated ones learn what the host learns, to the bit; each of the real ones links, and
its image is where the chip looks for it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from firmware_support import ALL_EMULATED, EMULATED, shared_objects
from mcugrad.errors import McugradError
from mcugrad.flash.images import make_images
from mcugrad.pipeline import Options, compile_file
from mcugrad.samples import load_records
from mcugrad.simulate.board import board_names, load_board
from mcugrad.simulate.build import build, build_program, read_manifest
from mcugrad.simulate.elf import read_elf
from mcugrad.simulate.footprint import serial_static_bytes
from mcugrad.simulate.run import run_session
from mcugrad.simulate.serial_firmware import build_serial
from mcugrad.simulate.session import Mode, Schedule, Session

pytestmark = pytest.mark.device
ROOT = Path(__file__).resolve().parents[2]
WATCH = ROOT / "models" / "watch" / "watch-unseen-2.onnx"
MCUNET = Path(os.environ.get("MCUGRAD_SHARED", ROOT / ".." / "shared")) / "models" / "mcunet-5fps.int8.onnx"
SCHEME = ROOT / "models" / "schemes" / "mcunet-49kb.toml"
REAL = [name for name in board_names() if load_board(name).real]
CLASSES = 7


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The watch's C, every layer trains; samples beside it."""
    folder = tmp_path_factory.mktemp("boards")
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.standard_normal((24, 6, 100)).astype(np.float32), y=rng.integers(0, 7, 24))
    compile_file(WATCH, folder / "watch", Options("mps2-an386", folder / "d.npz", "all"), ["test"])
    return folder / "watch"


@pytest.fixture(scope="module")
def mcunet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mcunet's C, with the scheme that trains 49 KB of it."""
    assert MCUNET.is_file(), f"{MCUNET} is missing: set MCUGRAD_SHARED"
    folder = tmp_path_factory.mktemp("boards") / "mcunet"
    compile_file(MCUNET, folder, Options("nucleo-f412zg", None, str(SCHEME), classes=10), ["test"])
    return folder


@pytest.mark.parametrize("name", [name for name in ALL_EMULATED if name not in EMULATED])
def test_the_watch_learns_the_same_bytes_on_it(watch: Path, name: str) -> None:
    records = load_records(watch.parent / "d.npz", read_manifest(watch))
    session = Session(
        *(Mode.TRAIN, CLASSES, records, records),
        epochs=1,
        learning_rate=0.003,
        schedule=Schedule.COSINE,
        seed=3,
    )
    firmware = build(watch, load_board(name), objects=shared_objects())
    result = run_session(firmware, session, timeout=300)
    assert result.same_as(run_session(build(watch, load_board("host")), session))
    assert result.steps == 24
    assert firmware.sizes.static == read_manifest(watch)["predicted"]["sram"]["static"]
    assert 0 < result.stack_high_water <= firmware.stack_bound <= result.stack_reserve


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("model", ["watch", "mcunet"])
def test_it_links_for_every_real_board(request: pytest.FixtureRequest, model: str, name: str) -> None:
    folder: Path = request.getfixturevalue(model)
    board = load_board(name)
    assert board.memory is not None
    firmware = build_serial(folder, board, objects=shared_objects())
    images = make_images(firmware)
    binary = images.bin.read_bytes()
    flash, ram = board.memory.flash, board.memory.ram
    assert len(binary) == firmware.sizes.flash <= flash.size
    outputs = int(np.prod(read_manifest(folder)["output"]["shape"]))
    predicted = serial_static_bytes(read_manifest(folder)["static_bytes"], outputs, 0) + board.driver_data
    assert firmware.sizes.static == predicted <= ram.size - firmware.sizes.stack_reserve
    stack, reset = struct.unpack_from("<II", binary)
    assert stack == ram.origin + board.stack_reserve
    assert reset & 1
    assert flash.origin <= reset < flash.origin + len(binary)
    assert _read_hex(images.hex, flash.origin, len(binary)) == binary


def _read_hex(path: Path, origin: int, size: int) -> bytes:
    """What an Intel HEX file puts at `origin`."""
    found: dict[int, int] = {}
    base = 0
    for line in path.read_text(encoding="ascii").splitlines():
        record = bytes.fromhex(line[1:])
        assert sum(record) % 256 == 0
        count, offset, kind, data = record[0], int.from_bytes(record[1:3], "big"), record[3], record[4:-1]
        if kind == 4:
            base = int.from_bytes(data, "big") << 16
        elif kind == 2:
            base = int.from_bytes(data, "big") << 4
        elif kind == 0:
            found |= {base + offset + i: data[i] for i in range(count)}
    return bytes(found[origin + i] for i in range(size))


def test_where_it_does_not_fit_the_budget_says_so(tmp_path: Path) -> None:
    with pytest.raises(McugradError, match=r"needs \d+ bytes of SRAM and nucleo-f412zg has 262144: .*train fewer"):
        compile_file(MCUNET, tmp_path / "out", Options("nucleo-f412zg", None, "all", classes=10), ["test"])
    assert not (tmp_path / "out").exists()


def test_the_f746_starts_in_sector_0_and_goes_on_behind_what_it_saves(watch: Path) -> None:
    images = make_images(build_serial(watch, load_board("stm32f746g-disco"), objects=shared_objects()))
    assert _read_hex(images.hex, 0x08000000, 8) == images.bin.read_bytes()[:8]
    assert images.address == 0x08020000


def test_the_boot_rom_of_the_rp2350_finds_its_block_and_the_uf2_holds_the_image(watch: Path) -> None:
    images = make_images(build_serial(watch, load_board("rp2350-pico2"), objects=shared_objects()))
    binary = images.bin.read_bytes()
    at = binary[:4096].find(struct.pack("<5I", 0xFFFFDED3, 0x10210142, 0x1FF, 0, 0xAB123579))
    assert at > 0
    assert at % 4 == 0
    assert images.uf2 is not None
    data = images.uf2.read_bytes()
    image = b""
    for number in range(len(data) // 512):
        block = data[number * 512 : (number + 1) * 512]
        first, second, flags, address, size, index, count, family = struct.unpack_from("<8I", block)
        assert (first, second, block[508:]) == (0x0A324655, 0x9E5D5157, b"\x30\x6f\xb1\x0a")
        assert (flags, family) == (0x2000, 0xE48BFF59)
        assert (address, size) == (0x10000000 + 256 * number, 256)
        assert (index, count) == (number, len(data) // 512)
        image += block[32 : 32 + size]
    assert image[: len(binary)] == binary
    assert not image[len(binary) :].strip(b"\0")


@pytest.mark.parametrize("name", REAL)
def test_its_flash_driver_links_and_is_what_the_board_describes(tmp_path: Path, name: str) -> None:
    """Whether it works, only the board can say."""
    board = load_board(name)
    source = """#include "storage.h"
    int main(void);
    int main(void) {
        static uint32_t block[8];
        const mg_flash_t *const flash = mg_storage_open();
        const bool done = flash->erase(flash->context, 0) && flash->program(flash->context, 0, block, sizeof block);
        return done && flash->read(flash->context, 0, block, sizeof block) ? 0 : 1;
    }
    """
    (tmp_path / "program.c").write_text(source, encoding="utf-8")
    firmware = build_program([tmp_path / "program.c"], board, build_dir=tmp_path / "build", objects=shared_objects())
    image, storage, memory = read_elf(firmware.elf), board.storage, board.memory
    assert storage is not None
    assert memory is not None
    described = struct.pack("<3I", storage.sector_bytes, storage.bytes // storage.sector_bytes, storage.program_bytes)
    assert described in image.sections[".rodata"].data
    assert storage.bytes % storage.sector_bytes == 0
    program = range(memory.flash.origin, memory.flash.origin + memory.flash.size)
    assert storage.base not in program
    assert storage.base + storage.bytes - 1 not in program
    assert 0 < firmware.stack_bound < 1024
