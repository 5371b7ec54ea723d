"""The log of saved states beside a simulated NOR flash, as a shared library: compiled from its source, or from a copy
of it that a test has broken on purpose."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mcugrad.resources import runtime_dir

SIMULATOR = Path(__file__).parent / "unit" / "flash"
LOG, CRC = (runtime_dir() / "src" / name for name in ("flash_log.c", "crc32.c"))
_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
_SANITIZERS = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
LOADED, EMPTY, DAMAGED, OTHER_FORMAT, OTHER_MODEL, BROKEN, NO_ROOM, NO_FLASH = range(8)  # mg_load_t
SAVED, TOO_SOON, WORN, SAVE_OTHER_FORMAT, SAVE_OTHER_MODEL, SAVE_NO_ROOM, SAVE_NO_FLASH = range(7)  # mg_save_t
ERASE_FAILS, PROGRAM_FAILS, READ_FAILS = 1, 2, 5  # unit/flash/nor.h


class Geometry(ctypes.Structure):
    """sector_bytes, sectors, program unit, bytes of the state."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("sector_bytes", "sectors", "unit", "state_bytes")]


class ModelId(ctypes.Structure):
    """mg_model_id_t."""

    _fields_ = (("hash", ctypes.c_uint8 * 16), ("name", ctypes.c_char * 24), ("bytes", ctypes.c_uint32))


class FlashLog(ctypes.Structure):
    """mg_flash_log_t."""

    _fields_ = (
        ("flash", ctypes.c_void_p),
        ("min_interval", ctypes.c_uint32),
        ("model", ctypes.POINTER(ModelId)),
        ("found", ctypes.c_int),
        *[(name, ctypes.c_uint32) for name in ("slots", "slot", "sequence", "step", "erases", "damaged")],
    )


class Simulator:
    """A library in `folder`; `source` is the log's C text."""

    def __init__(self, folder: Path, source: str | None = None) -> None:
        (folder / "flash_log.c").write_text(source or LOG.read_text(encoding="utf-8"), encoding="utf-8")
        files = [folder / "flash_log.c", CRC, *sorted(SIMULATOR.glob("*.c"))]
        includes = (f"-I{runtime_dir() / 'include'}", f"-I{SIMULATOR}")
        flags = ("-std=c11", "-O1", "-shared", "-fPIC", *_SANITIZERS, *(_WARNINGS if source is None else ()))
        command = ["gcc", *flags, *includes, *map(str, files), "-o", str(folder / "flash.so")]
        subprocess.run(command, check=True)
        self.library = ctypes.CDLL(str(folder / "flash.so"))
        for name in ("every_cut", "every_cut_of_clear", "random_cuts", "rot", "nor_broken"):
            getattr(self.library, name).restype = ctypes.c_char_p
        self.library.cuts.restype = ctypes.c_uint64

    def _ask(self, name: str, *arguments: object) -> str | None:
        answer: bytes | None = getattr(self.library, name)(*arguments)
        return None if answer is None else answer.decode()

    def every_cut(self, geometry: Sequence[int], saves: int) -> str | None:
        """Cuts each flash operation of each of `saves` saves in each way; what went wrong."""
        return self._ask("every_cut", ctypes.byref(Geometry(*geometry)), saves, 1)

    def every_cut_of_clear(self, geometry: Sequence[int]) -> str | None:
        """The same of mg_flash_clear behind three saves."""
        return self._ask("every_cut_of_clear", ctypes.byref(Geometry(*geometry)))

    def random_cuts(self, wanted: int, seed: int) -> str | None:
        """Histories of 40 saves with cuts anywhere, over any geometry, sectors wearing out; what went wrong."""
        return self._ask("random_cuts", ctypes.c_uint64(wanted), seed)

    def rot(self, geometry: Sequence[int]) -> str | None:
        """Flips each bit of two slots; what was not found."""
        return self._ask("rot", ctypes.byref(Geometry(*geometry)))

    def broken(self) -> str | None:
        """The first rule of the flash that was broken."""
        return self._ask("nor_broken")

    def cuts(self) -> int:
        """Cuts so far."""
        return int(self.library.cuts())


class Device:
    """A model's device beside the simulated flash. `state` is what it has learned."""

    def __init__(self, simulator: Simulator, state: bytes, *, model_hash: bytes = b"H" * 16, interval: int = 0) -> None:
        self.library = simulator.library
        self.model = ModelId((ctypes.c_uint8 * 16)(*model_hash), b"model", len(state))
        self.interval = interval
        self.state = ctypes.create_string_buffer(state, len(state))
        self.boot()

    def boot(self) -> int:
        """Power on: what was known is forgotten, and the newest state is loaded."""
        flash = ctypes.addressof(ctypes.c_char.in_dll(self.library, "nor_flash"))
        self.log = FlashLog(flash=flash, min_interval=self.interval)
        return self.load()

    def load(self) -> int:
        """mg_load_t."""
        return int(self.library.mg_flash_load(ctypes.byref(self.log), ctypes.byref(self.model), self.state))

    def save(self, step: int) -> int:
        """mg_save_t."""
        return int(self.library.mg_flash_save(ctypes.byref(self.log), ctypes.byref(self.model), self.state, step))

    def clear(self) -> bool:
        """mg_flash_clear."""
        clear = self.library.mg_flash_clear
        clear.restype = ctypes.c_bool
        return bool(clear(ctypes.byref(self.log), ctypes.byref(self.model)))

    def image(self) -> bytes:
        """Every byte of the flash, as a debug probe would read it."""
        cells = (ctypes.c_uint8 * (1 << 14)).in_dll(self.library, "nor")
        return bytes(cells)
