"""`python -m tests.bench.kernels`: executed instructions per MAC of single kernels on each emulated board.

CMSIS-NN's column is measured in the same run where the package `bakenn`, which carries its int8 sources, is installed
(`pip install bakenn`); otherwise it stays empty. Prints a table and writes build/bench/kernels.json. Instructions are
the same in every run.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .measure import measure_all, per_mac

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Measure and print."""
    found = measure_all()
    table = Table(title="executed instructions per MAC", title_justify="left")
    heading, *lines = per_mac(found)
    table.add_column(heading[0])
    for name in heading[1:]:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    out = ROOT / "build" / "bench" / "kernels.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
