"""Compiles every C and assembly file that is not generated, with each compiler that must accept it, warnings as errors.

Kernels (runtime_c/src/*.c) build for every board and the host; those under runtime_c/src/<architecture>/ only for the
emulated boards. targets/common/ is compiled around the test model tests/device/fake_model/, since it needs some model.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mcugrad.simulate.board import Board, board_names, board_sources, load_board

ROOT = Path(__file__).resolve().parents[1]
FLAGS = (
    *("-std=c11", "-O2", "-ffp-contract=off", "-c", "-o", os.devnull),
    *("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror"),
)
INCLUDES = (
    *("-Iruntime_c/include", "-Iruntime_c/src", "-Itargets/common", "-Itargets/drivers", "-Itests/unit/serial"),
    *("-Itests/device/fake_model", "-Itests/device/fake_model/serial"),
)
MODEL = (
    *("-DMG_MODEL=fake", "-DMG_MODEL_UPPER=FAKE"),
    *('-DMG_MODEL_HEADER="fake.h"', '-DMG_MODEL_SERIAL_HEADER="fake_serial.h"'),
)
# What is built for a board beside its own sources.
PROGRAMS = {
    "native": ("session.c", "train.c", "serial_main.c", "line.c", "io_posix.c"),
    "qemu": ("session.c", "train.c", "serial_main.c", "io_semihosting.c"),
    "hardware": ("serial_main.c",),
}


def _sources(board: Board) -> Iterator[Path]:
    # Equal cores make equal kernels: one board's are enough.
    runtime = [] if board.real else sorted(p for kind in ("*.c", "*.S") for p in Path("runtime_c").rglob(kind))
    yield from (p for p in runtime if not board.native or p.parent == Path("runtime_c/src"))
    yield from (Path("targets/common", name) for name in PROGRAMS[board.run.runner])
    yield from board_sources(board)
    yield from sorted(Path("tests/device/fake_model").rglob("*.c"))
    if board.native:
        yield from sorted(Path("tests/unit/serial").glob("*.c"))


def _commands() -> Iterator[list[str]]:
    for board in map(load_board, board_names()):
        own = [] if board.native else [f"-isystem{folder}" for folder in board.kind.includes()]
        flags = (*board.cpu_flags, *FLAGS, *INCLUDES, *MODEL, *own, *(f"-D{define}" for define in board.defines))
        for compiler in ("gcc", "clang") if board.native else (f"{board.kind.tools}gcc",):
            for source in _sources(board):
                yield [compiler, *flags, str(source)]


def _compile(command: list[str]) -> str:
    """The compiler's complaints, empty if there are none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"{command[0]} is not installed: run `make setup`"
    return f"{' '.join(command)}\n{done.stdout}{done.stderr}" if done.returncode else ""


def main() -> int:
    """Compile everything, print every complaint, return the exit code."""
    os.chdir(ROOT)
    commands = list(_commands())
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        complaints = [text for text in pool.map(_compile, commands) if text]
    print(*dict.fromkeys(complaints), f"{len(commands)} compilations, {len(complaints)} failed", sep="\n")
    return 1 if complaints or not commands else 0


if __name__ == "__main__":
    sys.exit(main())
