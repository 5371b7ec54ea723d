"""`make bench`: what published networks and the watch cost on each emulated board, and what single kernels do.

Writes build/bench/BENCH.md, bench.json and roofline.svg. Instructions and bytes are the same in every run; how long the
command line takes to answer belongs to this machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

import mcugrad
from mcugrad.commands.bench import measure
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import read_manifest

from .kernels.measure import measure_all
from .networks import BOARDS, PUBLISHED, PUSHED, ROOT, WATCH
from .report import LAYERS_OF, markdown
from .roofline import draw, traffic


def startup_seconds(runs: int = 9) -> float:
    """Median wall time of `mcugrad -h`, which should stay below 0.3 s."""

    def once() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mcugrad", "-h"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin

    return statistics.median(once() for _ in range(runs))


def first_line(*command: str) -> str:
    """What a tool says of its version."""
    return subprocess.run([*command, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]


def measured(out: Path, console: Console) -> Iterator[dict[str, Any]]:
    """`mcugrad bench --json` of every network on every board; draws the layers of one."""
    for network in (*PUBLISHED, *PUSHED, WATCH):
        folder = out / network.name.replace(", ", "-")
        console.print(f"compiling and measuring {network.name}", style="dim")
        network.compile(folder)
        for board in BOARDS:
            figures = {"network": network.name, **measure(folder, load_board(board))}
            if (network.name, board) == LAYERS_OF:
                draw(figures["layers"], traffic(read_manifest(folder)), ", ".join(LAYERS_OF), out / "roofline.svg")
            yield figures


def main() -> None:
    """Measure everything, write it and print it."""
    console = Console()
    out = ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    bench = {
        "version": mcugrad.__version__,
        "compiler": first_line("arm-none-eabi-gcc"),
        "qemu": first_line("qemu-system-arm"),
        "help_milliseconds": round(1000 * startup_seconds()),
        "networks": list(measured(out, console)),
        "kernels": measure_all(),
    }
    (out / "bench.json").write_text(json.dumps(bench, indent=1) + "\n", encoding="utf-8")
    text = markdown(bench)
    (out / "BENCH.md").write_text(text, encoding="utf-8")
    console.print(Markdown(text))
    console.print(f"written to {out.relative_to(ROOT)}: BENCH.md, bench.json, roofline.svg")


if __name__ == "__main__":
    main()
