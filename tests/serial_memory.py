"""A device of this process: the C of a model behind its serial line, which is two buffers (unit/serial/memory.c), and
lines that lose, repeat, reorder and damage what they carry."""

from __future__ import annotations

import ctypes
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

from firmware_support import FAKE_MODEL
from mcugrad.device.frames import encode
from mcugrad.resources import runtime_dir

HERE = Path(__file__).parent / "unit" / "serial"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = ("-fsanitize=undefined", "-fno-sanitize-recover=all")


def model_defines(name: str) -> list[str]:
    """Which model the C in unit/serial/ is compiled around."""
    return [f"-DMG_MODEL={name}", f"-DMG_MODEL_UPPER={name.upper()}", f'-DMG_MODEL_SERIAL_HEADER="{name}_serial.h"']


def fake_sources() -> list[str]:
    """The fake model, its serial line, and what they need of the runtime."""
    source = runtime_dir() / "src"
    runtime = ("serial.c", "serial_verbs.c", "crc32.c", "flash_log.c", "learning_rate.c")
    return [*map(str, sorted(FAKE_MODEL.rglob("*.c"))), *(str(source / name) for name in runtime)]


def fake_includes() -> list[str]:
    return [f"-I{FAKE_MODEL}", f"-I{FAKE_MODEL}/serial", f"-I{runtime_dir()}/include", f"-I{runtime_dir()}/src"]


class Library:
    """The C as a shared library in `folder`, of the fake model, or of the one that `compiled` holds."""

    def __init__(
        self, folder: Path, compiled: Path | None = None, name: str = "fake", defines: Sequence[str] = ()
    ) -> None:
        sources = fake_sources() if compiled is None else [str(path) for path in sorted(compiled.glob("*.c"))]
        includes = fake_includes() if compiled is None else [f"-I{compiled}"]
        flags = ["-std=c11", "-O1", "-ffp-contract=off", "-shared", "-fPIC", *SANITIZERS, *WARNINGS, f"-I{HERE}"]
        target = folder / "device.so"
        command = ["gcc", *flags, *includes, *model_defines(name), *(f"-D{d}" for d in defines)]
        subprocess.run([*command, *sources, str(HERE / "memory.c"), "-o", str(target)], check=True)
        self.c = ctypes.CDLL(str(target))
        for function in ("memory_new", "memory_model"):
            getattr(self.c, function).restype = ctypes.c_void_p


class MemoryLine:
    """A device, and the line to it. Nothing takes time: what is written is answered at once."""

    name = "memory"

    def __init__(self, library: Library, *, window: int = 4, flash: bool = True) -> None:
        self._c, self._window, self._flash = library.c, window, flash
        self._device = ctypes.c_void_p(self._c.memory_new())
        self._answers = b""
        self.boot()

    def boot(self) -> None:
        """Reset: SRAM is lost, what was saved in flash is not."""
        self._c.memory_boot(self._device, self._window, self._flash)

    def claim(self) -> None:
        """The firmware itself uses the model."""
        self._c.memory_claim(self._device)

    def serve(self, data: bytes) -> tuple[int, bytes]:
        """How many requests the bytes held, and what the device sent."""
        room = ctypes.c_uint32(300 * (len(data) // 12 + 1))
        answer = ctypes.create_string_buffer(room.value)
        size = room.value
        requests = self._c.memory_serve(self._device, data, len(data), answer, ctypes.byref(room))
        return requests, answer.raw[: size - room.value]

    def memory(self) -> bytes:
        """Every byte of the model's struct."""
        return ctypes.string_at(self._c.memory_model(self._device), self._c.memory_model_bytes())

    def read(self, timeout: float) -> bytes:
        data, self._answers = self._answers, b""
        return data

    def write(self, data: bytes) -> None:
        self._answers += self.serve(data)[1]

    def close(self) -> None:
        pass


class NoisyLine(MemoryLine):
    """Each frame, in either direction, is dropped, repeated, overtaken by the next one, or has a bit flipped: each with
    probability `rate`."""

    def __init__(self, library: Library, seed: int, rate: float, *, window: int = 4) -> None:
        super().__init__(library, window=window)
        self._random, self._rate = random.Random(seed), rate
        self._late: dict[str, bytes] = {"there": b"", "back": b""}
        self.disturbed = 0

    def write(self, data: bytes) -> None:
        self._answers += self._disturb("back", self.serve(self._disturb("there", data))[1])

    def _disturb(self, way: str, data: bytes) -> bytes:
        frames = [b"\0" + packed + b"\0" for packed in data.split(b"\0") if packed]
        return b"".join(self._one(way, frame) for frame in frames)

    def _one(self, way: str, frame: bytes) -> bytes:
        drop, repeat, late, flip = (self._random.random() < self._rate for _ in range(4))
        self.disturbed += drop or repeat or late or flip
        if flip:
            bit = self._random.randrange(8 * len(frame))
            frame = bytes(byte ^ (1 << bit % 8 if i == bit // 8 else 0) for i, byte in enumerate(frame))
        frames = b"" if drop else frame * (1 + repeat)
        held, self._late[way] = self._late[way], frames if late else b""
        return held if late else frames + held


__all__ = ["Library", "MemoryLine", "NoisyLine", "encode"]
