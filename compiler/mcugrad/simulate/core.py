"""What a board's core decides: tools, start-up code, C library, and how its instructions move the stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcugrad.resources import targets_dir
from mcugrad.simulate.instructions import Reader, read_arm, read_riscv


@dataclass(frozen=True)
class Core:
    """One core. `folder` of targets/cores/ holds `sources` and `window`, the file that guards memory; `link`: flags and
    C library; `exception_frame`: bytes that a fault pushes; `vectors`: bytes of addresses at the image's start; `dsp`:
    the extension of runtime_c/src/armv7em/; `read`: what an instruction of its disassembly does."""

    tools: str
    emulator: str
    emulator_flags: tuple[str, ...]
    folder: str
    sources: tuple[str, ...]
    window: str
    link: tuple[str, ...]
    exception_frame: int
    vectors: int
    dsp: bool
    read: Reader

    def includes(self) -> list[Path]:
        """Folder of the C library's headers, where the compiler comes without."""
        return [p for p in (self.path / "include",) if p.is_dir()]

    @property
    def path(self) -> Path:
        return targets_dir() / "cores" / self.folder


def _cortex_m(window: str) -> Core:
    return Core(
        tools="arm-none-eabi-",
        emulator="qemu-system-arm",
        emulator_flags=(),
        folder="cortex_m",
        sources=("startup.c", "fault.c", "memory.S"),
        window=window,
        link=("-Wl,--orphan-handling=error", "-lc", "-lgcc"),
        exception_frame=108,  # with FPU: 26 words, and one to align it
        vectors=64,
        dsp=True,
        read=read_arm,
    )


CORES = {
    "cortex-m4": _cortex_m("mpu_armv7m.c"),
    "cortex-m7": _cortex_m("mpu_armv7m.c"),
    "cortex-m33": _cortex_m("mpu_armv8m.c"),
    "rv32imafc": Core(
        tools="riscv64-unknown-elf-",
        emulator="qemu-system-riscv32",
        emulator_flags=("-bios", "none"),
        folder="riscv32",
        sources=("startup.c", "fault.c", "memory.c"),
        window="pmp.c",
        link=("-lgcc",),  # the relocations that --emit-relocs keeps are orphans here
        exception_frame=0,
        vectors=0,
        dsp=False,
        read=read_riscv,
    ),
}
