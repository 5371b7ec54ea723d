"""Measures what the compiler's flash prediction reads: runtime_c/code_size.json.

    python -m tests.bench.code_size

Run it after any change of runtime_c/, of targets/common/ or of the pinned compiler; a unit test says when it is due.
For every core, on an emulated board, at -O2: the bytes of code and constants of each runtime file, of the functions of
libgcc that they call, and of everything in a firmware that is not the model (start-up, session, C library).
`one_input`: the files of weight updates again, as a project compiles them whose updated layers have one input channel a
group.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mcugrad.resources import runtime_dir, targets_dir
from mcugrad.simulate.board import Board, board_names, load_board
from mcugrad.simulate.build import BARE, DIALECT, build_program
from mcugrad.simulate.elf import read_elf
from mcugrad.simulate.toolchain import find_compiler, find_tool, tool_version

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "device" / "fake_model"
OPTIMIZE = "-O2"
# What a firmware is built for, and the fake model's switch for it.
FIRMWARES = {"none": ("FAKE_FROZEN",), "label": (), "target": ("FAKE_REGRESSION",)}
# Functions of libgcc, each with a program that calls it and one that does not. The session has memcpy and memset.
_TO_FLOAT = ("f = (float)v;", "f = (float)(int)v;")
LIBRARY = {"__aeabi_l2f": _TO_FLOAT, "__floatdisf": _TO_FLOAT}
PRESENT = {"memcpy", "memset"}


def measure() -> dict[str, Any]:
    """The table. Raises McugradError when a tool is missing."""
    boards = [b for b in map(load_board, board_names()) if b.run.runner == "qemu"]
    one_a_core = {b.core: b for b in reversed(boards)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        return {
            "optimize": OPTIMIZE,
            "cores": {core: _core(b, folder / core) for core, b in sorted(one_a_core.items())},
        }


def _core(board: Board, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    compiler = find_compiler(board, "gcc")
    needs = _needs(compiler, board, folder)
    names = sorted({name for names in needs.values() for name in names})
    return {
        "compiler": tool_version(compiler),
        "needs": needs,
        "firmware": {name: _firmware(compiler, board, folder / name, defines) for name, defines in FIRMWARES.items()},
        "library": {name: _library(board, folder / name, *LIBRARY[name]) for name in names},
        "files": measure_files(compiler, board),
        "one_input": measure_files(compiler, board, updates(), "-DMG_INPUTS_AT_ONCE=1"),
    }


def measure_files(compiler: str, board: Board, files: Sequence[Path] = (), *flags: str) -> dict[str, int]:
    """Bytes of flash of these runtime files, or of all, by their names."""
    files = files or sources()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        folder = Path(scratch)
        sizes = pool.map(lambda path: _object_bytes(_compile(compiler, board, path, folder, *flags)), files)
        return {path.name: size for path, size in zip(files, sizes, strict=True)}


def updates() -> list[Path]:
    """Those of which a project whose updated layers have one input channel a group compiles less."""
    return [path for path in sources() if '"conv2d_update_weight.inc"' in path.read_text(encoding="utf-8")]


def sources() -> list[Path]:
    """The runtime files."""
    return sorted(p for kind in ("*.c", "*.S") for p in (runtime_dir() / "src").rglob(kind))


def _compile(compiler: str, board: Board, source: Path, folder: Path, *flags: str) -> Path:
    target = folder / f"{source.stem}.o"
    includes = [f"-I{runtime_dir() / 'include'}", *(f"-isystem{folder}" for folder in board.kind.includes())]
    command = [compiler, *DIALECT, *board.cpu_flags, OPTIMIZE, *BARE, *includes, *flags]
    subprocess.run([*command, "-c", str(source), "-o", str(target)], check=True)
    return target


def _object_bytes(path: Path) -> int:
    """Code and constants; sections start at words."""
    sections = read_elf(path).sections.values()
    return sum((s.size + 3) // 4 * 4 for s in sections if s.allocated and s.data)


def _firmware(compiler: str, board: Board, folder: Path, defines: tuple[str, ...]) -> int:
    """Flash of a firmware around the fake model, less the fake model."""
    folder.mkdir()
    common = targets_dir() / "common"
    model = ("MG_MODEL=fake", "MG_MODEL_UPPER=FAKE", 'MG_MODEL_HEADER="fake.h"', *defines)
    include = runtime_dir() / "include"
    own = sorted(FAKE.glob("*.c"))
    linked = build_program(
        [*own, *(common / name for name in ("session.c", "train.c", "io_semihosting.c"))],
        board,
        includes=(FAKE, include),
        optimize=OPTIMIZE,
        defines=model,
        build_dir=folder / "build",
    )
    flags = [f"-I{FAKE}", *(f"-D{d}" for d in defines)]
    return linked.sizes.flash - sum(_object_bytes(_compile(compiler, board, path, folder, *flags)) for path in own)


def _library(board: Board, folder: Path, with_it: str, without: str) -> int:
    folder.mkdir()

    def flash(name: str, text: str) -> int:
        path = folder / f"{name}.c"
        body = f"int main(void) {{ volatile long long v = 3; volatile float f; {text} return (int)f; }}\n"
        path.write_text(body, encoding="utf-8")
        return build_program([path], board, optimize=OPTIMIZE, build_dir=folder / name).sizes.flash

    return flash("with", with_it) - flash("without", without)


def _needs(compiler: str, board: Board, folder: Path) -> dict[str, list[str]]:
    """Library functions that each file calls, beside those that every firmware has."""
    table = {}
    for source in sources():
        command = [find_tool(f"{board.kind.tools}nm"), "-u", str(_compile(compiler, board, source, folder))]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        names = sorted(n for n in lines if n not in ("U", *PRESENT) and not n.startswith("mg_"))
        unknown = [n for n in names if n not in LIBRARY]
        if unknown:
            raise SystemExit(f"{source.name} calls {unknown[0]}: add it to LIBRARY")
        if names:
            table[source.name] = names
    return table


def main() -> None:
    """Write the table."""
    path = runtime_dir() / "code_size.json"
    path.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    print(f"{path} written")


if __name__ == "__main__":
    main()
