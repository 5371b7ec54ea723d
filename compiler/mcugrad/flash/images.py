"""A firmware's image in the formats that flashing tools take."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.files import write_file
from mcugrad.simulate.board import Board
from mcugrad.simulate.build import Firmware
from mcugrad.simulate.toolchain import find_tool

_UF2_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
_UF2_FAMILY_PRESENT = 0x2000
_UF2_PAYLOAD = 256


@dataclass(frozen=True)
class Images:
    """Files of one firmware; `uf2` where the board takes it. `address`: where the first byte of `bin` goes."""

    elf: Path
    bin: Path
    hex: Path
    uf2: Path | None
    address: int


def make_images(firmware: Firmware) -> Images:
    """Write them beside the ELF. Raises McugradError when a tool is missing or refuses."""
    board, elf = firmware.board, firmware.elf
    assert board.memory is not None
    binary, text = elf.with_suffix(".bin"), elf.with_suffix(".hex")
    _objcopy(board, "-O", "ihex", str(elf), str(text))
    # The binary is what lies in flash proper: what leads there from elsewhere is in the other two.
    _objcopy(board, "-O", "binary", "-R", ".start", str(elf), str(binary))
    address = board.memory.flash.origin
    uf2 = None
    if board.uf2 is not None:
        uf2 = elf.with_suffix(".uf2")
        write_file(uf2, to_uf2(binary.read_bytes(), address, board.uf2.family))
    return Images(elf, binary, text, uf2, address)


def _objcopy(board: Board, *arguments: str) -> None:
    tool = find_tool(f"{board.kind.tools}objcopy")
    answer = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise McugradError(f"{Path(tool).name} refuses the firmware for {board.name}: {answer.stderr.strip()}")


def to_uf2(image: bytes, address: int, family: int) -> bytes:
    """`image`, which goes to `address`, as UF2: blocks of 512 bytes with 256 of payload, the last filled up with zeros.

    Format and families: https://github.com/microsoft/uf2.
    """
    count = -(-len(image) // _UF2_PAYLOAD)
    blocks = []
    for number in range(count):
        payload = image[number * _UF2_PAYLOAD : (number + 1) * _UF2_PAYLOAD]
        header = struct.pack(
            *("<8I", *_UF2_MAGIC[:2], _UF2_FAMILY_PRESENT, address + number * _UF2_PAYLOAD),
            *(_UF2_PAYLOAD, number, count, family),
        )
        blocks.append(header + payload.ljust(476, b"\0") + struct.pack("<I", _UF2_MAGIC[2]))
    return b"".join(blocks)
