"""`make bench`: what the watch model costs on each emulated board, and how fast the command line answers.

Writes build/bench/<board>-<scheme>.json (as `mcugrad bench --json`) and build/bench/startup.json; prints both.
Instructions and bytes are the same in every run; the start-up time belongs to this machine.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mcugrad.report.numbers import bytes_text

ROOT = Path(__file__).resolve().parents[2]
SUBJECT = 2  # the wearer whom the benchmarked model has not seen
SCHEMES = ("none", "head", "all")
BOARDS = ("mps2-an386", "mps2-an500")


def _mcugrad(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "mcugrad", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def startup_seconds(runs: int = 9) -> float:
    """Median wall time of `mcugrad -h`, which should stay below 0.3 s."""

    def once() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mcugrad", "-h"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin

    return statistics.median(once() for _ in range(runs))


def measure(out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compile and bench the watch with every scheme on every board: (scheme, the bench's JSON)."""
    from models.watch.data import calibration_npz

    calibration = calibration_npz(SUBJECT, out / "calibration.npz")
    model = ROOT / "models" / "watch" / f"watch-unseen-{SUBJECT}.onnx"
    for board in BOARDS:
        for scheme in SCHEMES:
            folder, figures = out / f"{board}-{scheme}", out / f"{board}-{scheme}.json"
            _mcugrad("compile", model, "-o", folder, "--board", board, "--data", calibration, "--train", scheme)
            _mcugrad("bench", folder, "--on", board, "--json", figures)
            yield scheme, json.loads(figures.read_text(encoding="utf-8"))


def main() -> None:
    """Measure everything and print it."""
    console = Console()
    out = ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    seconds = startup_seconds()
    (out / "startup.json").write_text(json.dumps({"help_seconds": round(seconds, 3)}) + "\n", encoding="utf-8")
    console.print(f"mcugrad -h: {1000 * seconds:.0f} ms (median of 9)")
    table = Table(title="the watch model, executed instructions and bytes", title_justify="left")
    for heading in ("board", "trains"):
        table.add_column(heading)
    for heading in ("inference", "training step", "per MAC", "SRAM", "flash"):
        table.add_column(heading, justify="right")
    for scheme, figures in measure(out):
        step, macs = figures["step_instructions"], sum(figures["macs"].values())
        table.add_row(
            figures["board"],
            scheme,
            f"{figures['forward_instructions']:,}",
            f"{step:,}" if step else "",
            f"{(step or figures['forward_instructions']) / macs:.2f}",
            bytes_text(figures["sram"]["total"]),
            bytes_text(figures["flash"]["total"]),
        )
    console.print(table)


if __name__ == "__main__":
    main()
