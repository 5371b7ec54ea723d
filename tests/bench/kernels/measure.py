"""Executed instructions of single kernels, ours and CMSIS-NN's."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcugrad.emit.kernels import kernel_files
from mcugrad.resources import runtime_dir, targets_dir
from mcugrad.simulate.board import Board, load_board
from mcugrad.simulate.build import build_program
from mcugrad.simulate.run import run_program

from ..networks import BOARDS
from .rows import BYTES, CHANNELS, ROWS, SCRATCH, ours
from .rows import cmsis as cmsis_call

_ARRAYS = f"""
static int8_t x[{BYTES["x"]}], y[{BYTES["y"]}];
static _Alignas(8) int8_t w[{BYTES["w"]}];
static int32_t bias[{CHANNELS}];
static _Alignas(8) int16_t scratch[{SCRATCH}];
"""


def measure(board: Board) -> list[int]:
    """Instructions of every row by our kernels."""
    called = [ours(row) for row in ROWS]
    files = [p for p in kernel_files({name for name, _ in called}) if p.suffix in (".c", ".S")]
    setup = f"static float scale[{CHANNELS}];\nstatic const mg_weights_t weights = {{w, bias, scale}};\n"
    fill = f"for (int i = 0; i < {CHANNELS}; i++) {{ scale[i] = 0x1p-9f; }}"
    text = '#include "mcugrad.h"\n' + _ARRAYS + setup + _program([body for _, body in called], fill)
    return _run(board, text, files, (runtime_dir() / "include", runtime_dir() / "src"), "-O2")


def measure_cmsis(board: Board, vendor: Path) -> list[int | None]:
    """The same by CMSIS-NN, at the -O3 that it recommends; None where it has no such kernel."""
    context = "static const cmsis_nn_context context = {scratch, sizeof scratch};\n"
    setup = f"static int32_t multiplier[{CHANNELS}], shift[{CHANNELS}];\n{context}"
    fill = f"for (int i = 0; i < {CHANNELS}; i++) {{ multiplier[i] = 1 << 30, shift[i] = -8; }}"
    text = (
        '#include "arm_nnfunctions.h"\n'
        + _ARRAYS
        + setup
        + _program([body for body in map(cmsis_call, ROWS) if body], fill)
    )
    includes = (vendor / "cmsis_nn" / "Include", vendor / "cmsis_core" / "Include")
    files = sorted((vendor / "cmsis_nn" / "Source").rglob("*.c"))
    lenient = board.model_copy(update={"cpu_flags": (*board.cpu_flags, "-w")})  # our warnings are not its own
    measured = iter(_run(lenient, text, files, includes, "-O3"))
    return [next(measured) if cmsis_call(row) else None for row in ROWS]


def _program(bodies: Sequence[str], fill: str) -> str:
    rows = "".join(f"static void row_{i}(void) {{ {body} }}\n" for i, body in enumerate(bodies))
    names = ", ".join(f"row_{i}" for i in range(len(bodies)))
    main = f"fill(x, sizeof x), fill(w, sizeof w); {fill} measure(rows, sizeof rows / sizeof rows[0]); return 0;"
    table = f"static void (*const rows[])(void) = {{{names}}};\n"
    return f'#include "measure.h"\n{rows}{table}int main(void);\nint main(void) {{ {main} }}\n'


def _run(board: Board, text: str, files: Sequence[Path], includes: Sequence[Path], optimize: str) -> list[int]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "program.c").write_text(text, encoding="utf-8")
        firmware = build_program(
            [folder / "program.c", *files],
            board,
            build_dir=folder / "build",
            includes=(Path(__file__).parent, targets_dir() / "common", *includes),
            optimize=optimize,
            check_stack=False,
        )
        output = run_program(firmware, folder, timeout=600)
    assert output.exit_code == 0, output.stderr
    return [board.instructions(int(line)) for line in output.stdout.split()]


def cmsis_sources() -> Path | None:
    """The folder with CMSIS-NN inside the package bakenn, None where that is not installed."""
    found = importlib.util.find_spec("bakenn")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "backend" / "cmsis_nn" / "vendor"


def measure_all(*, cmsis: bool = True) -> list[dict[str, Any]]:
    """A row for each of ROWS: layer, macs, must, aim, and instructions by board; CMSIS-NN's where it is installed."""
    vendor = cmsis_sources() if cmsis else None
    figures: dict[str, Sequence[int | None]] = {}
    for name in BOARDS:
        board = load_board(name)
        figures[name] = measure(board)
        if vendor is not None:
            figures[f"CMSIS-NN, {name}"] = measure_cmsis(board, vendor)
    facts = ({"layer": r.name, "macs": r.macs, "must": r.must, "aim": r.aim} for r in ROWS)
    return [{**fact, "instructions": {k: v[i] for k, v in figures.items()}} for i, fact in enumerate(facts)]


def per_mac(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A heading, and a line a row: instructions per MAC."""
    lines = [["layer", *found[0]["instructions"], "must", "aim"]]
    for row in found:
        counts = ("" if n is None else f"{n / row['macs']:.3f}" for n in row["instructions"].values())
        goals = ("" if row[goal] is None else f"{row[goal]:g}" for goal in ("must", "aim"))
        lines.append([row["layer"], *counts, *goals])
    return lines
