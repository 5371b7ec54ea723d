"""What a board is: targets/<name>/board.toml, validated."""

from __future__ import annotations

import difflib
import sys
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mcugrad.errors import McugradError
from mcugrad.resources import targets_dir
from mcugrad.simulate.core import CORES, Core

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(_Table):
    """A memory: first address and size, both in bytes."""

    origin: int = Field(ge=0, lt=2**32)
    size: int = Field(gt=0, le=2**32)


class Memory(_Table):
    """The limits that linker and MPU enforce."""

    ram: Region
    flash: Region


class Timer(_Table):
    """The free-running timer at `base` that counts at `hz`."""

    base: int = Field(ge=0, lt=2**32)
    hz: int = Field(gt=0)


class Uart(_Table):
    """The serial line: registers at `base`, clocked with `clock_hz`; its pins, where the driver has to know them.
    `window`: 1, and 1 more for each 256 bytes that are kept while nobody reads them (mg_serial_port_t)."""

    base: int = Field(ge=0, lt=2**32)
    clock_hz: int = Field(gt=0)
    baud: int = Field(default=115200, gt=0)
    tx: int | None = Field(default=None, ge=0)
    rx: int | None = Field(default=None, ge=0)
    window: int = Field(default=1, ge=1, le=4)


class Storage(_Table):
    """Flash for saved states: `bytes` from `base` on, in sectors, programmed in units of `program_bytes`;
    `first_sector` is the chip's number of the first, where its driver has to know it. Under QEMU it lies in the memory
    `backend` of `backend_bytes`, from its byte `backend_offset` on, which a file can hold."""

    base: int = Field(default=0, ge=0, lt=2**32)
    bytes: int = Field(gt=0, lt=2**31)
    sector_bytes: int = Field(gt=0, multiple_of=32)
    program_bytes: Literal[1, 2, 4, 8, 16, 32]
    first_sector: int | None = Field(default=None, ge=0)
    backend: str | None = None
    backend_bytes: int = Field(default=0, ge=0)
    backend_offset: int = Field(default=0, ge=0)


class Run(_Table):
    """How a firmware is executed: by itself, by QEMU's `machine` with 2^icount_shift ns an instruction, or on a board
    that somebody has on the table."""

    runner: Literal["native", "qemu", "hardware"]
    machine: str | None = None
    icount_shift: int = Field(default=6, ge=0, le=10)


class Flasher(_Table):
    """A way to bring a firmware onto a board: a program, or `copy` for a drive that the board shows. In `arguments`,
    {elf}, {bin}, {hex} and {uf2} are the image, {address} where it begins, {port} a serial port, {volume} the drive;
    `install` says how to come by the tool."""

    tool: str
    arguments: tuple[str, ...]
    install: str


class Uf2(_Table):
    """Images as UF2: the family's number, and the name of the drive that takes them."""

    family: int = Field(ge=0, lt=2**32)
    volume: str


class Board(_Table):
    """One target. `drivers`: files of targets/drivers/ that its firmware has, beside the C files of its own folder;
    `driver_data`: their bytes of .data and .bss; `stack_reserve` is in bytes; a native board has neither memory limits
    nor a timer."""

    name: str
    description: str
    core: str
    cpu_flags: tuple[str, ...]
    stack_reserve: int = Field(default=0, ge=0, multiple_of=8)
    memory: Memory | None = None
    drivers: tuple[str, ...] = ()
    driver_data: int = Field(default=0, ge=0, multiple_of=8)
    timer: Timer | None = None
    uart: Uart | None = None
    storage: Storage | None = None
    run: Run
    flash: tuple[Flasher, ...] = ()
    uf2: Uf2 | None = None

    @property
    def kind(self) -> Core:
        """What the core decides; a native board has none. Raises KeyError."""
        return CORES[self.core]

    @property
    def runs_assembly(self) -> bool:
        """Whether runtime_c/src/armv7em/ is in charge, as mg_internal.h decides: the DSP extension and a float unit."""
        return not self.native and self.kind.dsp and any(flag.startswith("-mfpu=") for flag in self.cpu_flags)

    @model_validator(mode="after")
    def _is_complete(self) -> Board:
        if not self.native and self.core not in CORES:
            raise ValueError(f"core {self.core!r} is not known: choose one of {', '.join(CORES)}, or add it to core.py")
        if self.run.runner == "qemu" and not (self.memory and self.timer and self.run.machine and self.stack_reserve):
            raise ValueError("a board run by qemu needs memory, timer, stack_reserve and run.machine")
        if self.real and not (self.memory and self.timer and self.uart and self.stack_reserve and self.flash):
            raise ValueError("a real board needs memory, timer, uart, stack_reserve and a way to flash it")
        if any("{uf2}" in "".join(way.arguments) for way in self.flash) and self.uf2 is None:
            raise ValueError("{uf2} needs the table [uf2]")
        return self

    @property
    def defines(self) -> tuple[str, ...]:
        """What the drivers are compiled with."""
        found = [f"MG_TIMER_BASE={self.timer.base:#x}u"] if self.timer is not None else []
        if self.uart is not None:
            values = {
                "CLOCK_HZ": self.uart.clock_hz,
                "BAUD": self.uart.baud,
                "WINDOW": self.uart.window,
                "TX": self.uart.tx,
                "RX": self.uart.rx,
            }
            found.append(f"MG_UART_BASE={self.uart.base:#x}u")
            found += [f"MG_UART_{name}={value}u" for name, value in values.items() if value is not None]
        if self.storage is not None:
            sizes = {
                "BASE": self.storage.base,
                "BYTES": self.storage.bytes,
                "SECTOR_BYTES": self.storage.sector_bytes,
                "PROGRAM_BYTES": self.storage.program_bytes,
                "FIRST_SECTOR": self.storage.first_sector,
            }
            found += [f"MG_STORAGE_{name}={value}u" for name, value in sizes.items() if value is not None]
        return tuple(found)

    @property
    def native(self) -> bool:
        return self.run.runner == "native"

    @property
    def emulated(self) -> bool:
        return self.run.runner == "qemu"

    @property
    def real(self) -> bool:
        """A board on somebody's table: nothing here can run its firmware."""
        return self.run.runner == "hardware"

    def instructions(self, ticks: int) -> int:
        """Executed instructions in `ticks` of the timer under QEMU's -icount; 0 on a board without a timer."""
        if self.timer is None:
            return 0
        return round(ticks * Fraction(10**9, self.timer.hz << self.run.icount_shift))


def board_names() -> list[str]:
    """Names of all boards, sorted."""
    return sorted(path.parent.name for path in targets_dir().glob("*/board.toml"))


def board_dir(board: Board) -> Path:
    """The board's folder: board.toml, link.ld, README.md."""
    return targets_dir() / board.name


def board_sources(board: Board) -> list[Path]:
    """The C files of its firmware beside the program itself: start-up, its drivers, its own folder's."""
    common, drivers = targets_dir() / "common", targets_dir() / "drivers"
    own = [*sorted(board_dir(board).glob("*.c")), *(drivers / f"{name}.c" for name in board.drivers)]
    if board.native:
        return own
    core, speaks = board.kind, ["semihosting.c"] if board.emulated else ["console_uart.c", "no_window.c"]
    window = [core.window] if board.emulated else []
    return [
        *(common / name for name in ("fault.c", "line.c", *speaks)),
        *(core.path / name for name in (*core.sources, *window)),
        *own,
    ]


def load_board(name: str) -> Board:
    """The board called `name`. Raises McugradError when there is none, naming the nearest, or its file is wrong."""
    names = board_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names)}"
        raise McugradError(f"there is no board {name!r}: {hint}")
    path = targets_dir() / name / "board.toml"
    try:
        board = Board.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise McugradError(f"{path} does not describe a board: {' '.join(str(error).split())}") from error
    if board.name != name:
        raise McugradError(f"{path} says name = {board.name!r}: it must be its folder's name")
    return board
