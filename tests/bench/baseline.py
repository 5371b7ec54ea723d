"""Executed instructions and flash as they were: tests hold every change to instructions.json, and this renews it:

    python -m tests.bench.baseline

Run it after a change that is meant to execute, or take, more or less, and say in the commit why. The counts are
exact and the same on every machine that has the same compiler, so that they can be a test, unlike a timing.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mcugrad.commands.bench import totals
from mcugrad.simulate.board import load_board

from .kernels.measure import measure_all
from .networks import BOARDS, GUARDED, Network
from .run import first_line

BASELINE = Path(__file__).with_name("instructions.json")
GROWTH = 1.02


def of_network(network: Network, folder: Path) -> dict[str, dict[str, Any]]:
    """Board -> instructions of a forward pass and of a training step, bytes of code and of constants."""
    return {board: _of_board(totals(folder, load_board(board))) for board in BOARDS}


def _of_board(found: dict[str, Any]) -> dict[str, Any]:
    flash = {part: found["flash"][part] for part in ("code", "const")}
    return {"forward": found["forward_instructions"], "step": found["step_instructions"], "flash": flash}


def of_kernels() -> dict[str, dict[str, int]]:
    """Layer -> instructions by board, of our kernels."""
    return {row["layer"]: {b: row["instructions"][b] for b in BOARDS} for row in measure_all(cmsis=False)}


def grown(found: dict[str, Any], known: dict[str, Any], where: str) -> list[str]:
    """A sentence for every count more than GROWTH times the one that was known; both have the same entries."""
    assert found.keys() == known.keys(), f"{where}: `python -m tests.bench.baseline` renews instructions.json"
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines += grown(value, known[key], f"{where}, {key}")
        elif value > GROWTH * known[key]:
            unit = "bytes" if where.endswith("flash") else "instructions"
            lines.append(f"{where}, {key}: {value:,} {unit}, {known[key]:,} before ({value / known[key] - 1:+.1%})")
    return lines


def known() -> dict[str, Any]:
    """instructions.json: command, compiler, networks, kernels."""
    return dict(json.loads(BASELINE.read_text(encoding="utf-8")))


def main() -> None:
    """Measure and write."""
    networks = {}
    for network in GUARDED:
        with tempfile.TemporaryDirectory() as scratch:
            network.compile(Path(scratch) / "model")
            networks[network.name] = of_network(network, Path(scratch) / "model")
    baseline: dict[str, Any] = {
        "command": "python -m tests.bench.baseline",
        "compiler": first_line("arm-none-eabi-gcc"),
        "networks": networks,
        "kernels": of_kernels(),
    }
    BASELINE.write_text(json.dumps(baseline, indent=1) + "\n", encoding="utf-8")
    print(f"{BASELINE} written")


if __name__ == "__main__":
    main()
