"""`python -m tests.bench.kernels`: executed instructions per MAC of single kernels on each emulated board.

CMSIS-NN's column is measured in the same run where the package `bakenn`, which carries its int8 sources, is installed
(`pip install bakenn`); otherwise it stays empty. Prints a table and writes build/bench/kernels.json. Instructions are
the same in every run.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mcugrad.emit.kernels import kernel_files
from mcugrad.resources import runtime_dir, targets_dir
from mcugrad.simulate.board import Board, load_board
from mcugrad.simulate.build import build_program
from mcugrad.simulate.run import run_program

from .rows import BYTES, CHANNELS, ROWS, SCRATCH, cmsis, ours

ROOT = Path(__file__).resolve().parents[3]
BOARDS = ("mps2-an386", "mps2-an500")
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
        '#include "arm_nnfunctions.h"\n' + _ARRAYS + setup + _program([body for body in map(cmsis, ROWS) if body], fill)
    )
    includes = (vendor / "cmsis_nn" / "Include", vendor / "cmsis_core" / "Include")
    files = sorted((vendor / "cmsis_nn" / "Source").rglob("*.c"))
    lenient = board.model_copy(update={"cpu_flags": (*board.cpu_flags, "-w")})  # our warnings are not its own
    measured = iter(_run(lenient, text, files, includes, "-O3"))
    return [next(measured) if cmsis(row) else None for row in ROWS]


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


def main() -> None:
    """Measure and print."""
    vendor = cmsis_sources()
    figures: dict[str, Sequence[int | None]] = {}
    for name in BOARDS:
        board = load_board(name)
        figures[name] = measure(board)
        if vendor is not None:
            figures[f"CMSIS-NN, {name}"] = measure_cmsis(board, vendor)
    table = Table(title="executed instructions per MAC", title_justify="left")
    table.add_column("layer")
    for heading in (*figures, "must", "aim"):
        table.add_column(heading, justify="right")
    for i, row in enumerate(ROWS):
        goals = ("" if goal is None else f"{goal:g}" for goal in (row.must, row.aim))
        per_mac = ("" if (n := v[i]) is None else f"{n / row.macs:.3f}" for v in figures.values())
        table.add_row(row.name, *per_mac, *goals)
    Console().print(table)
    out = ROOT / "build" / "bench" / "kernels.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"layer": r.name, "macs": r.macs, **{k: v[i] for k, v in figures.items()}} for i, r in enumerate(ROWS)]
    out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
