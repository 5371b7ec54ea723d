"""results.jsonl: one line a finished run. RESULTS.md: the table made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .arms import ARMS
from .networks import NETWORKS

HERE = Path(__file__).parent
EPOCHS = 3


@dataclass(frozen=True)
class Run:
    """One training from the published weights. `validation` and `test`: shares classified right."""

    network: str
    arm: str
    lr: float
    seed: int
    epochs: int
    validation: float
    test: float
    losses: tuple[float, ...]
    clipped_errors: int
    saturated_weights: int
    not_finite: int
    seconds: float
    date: str
    command: str


class Results:
    """The file, read once and appended to."""

    def __init__(self, path: Path = HERE / "results.jsonl") -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.runs = [Run(**json.loads(line)) for line in lines]

    def find(self, network: str, arm: str, lr: float, seed: int) -> Run | None:
        """The run, if it was done."""
        wanted = (network, arm, lr, seed, EPOCHS)
        return next((r for r in self.runs if (r.network, r.arm, r.lr, r.seed, r.epochs) == wanted), None)

    def add(self, run: Run) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")
        self.runs.append(run)

    def rate(self, network: str, arm: str) -> float | None:
        """The arm's learning rate: the best on the validation split with its first seed (the smaller of equals).

        None while a rate has not been tried.
        """
        kind = ARMS[arm]
        if not kind.rates:
            return self.rate(network, kind.rate_of)
        tried = [self.find(network, arm, lr, kind.seeds[0]) for lr in kind.rates]
        best = max((r.validation for r in tried if r is not None), default=0.0)
        if any(r is None for r in tried):
            return None
        return min(r.lr for r in tried if r is not None and r.validation == best)

    def cell(self, network: str, arm: str) -> list[Run]:
        """The runs of every seed at the chosen rate."""
        rate = self.rate(network, arm)
        found = [] if rate is None else [self.find(network, arm, rate, seed) for seed in ARMS[arm].seeds]
        return [run for run in found if run is not None]


def table(results: Results) -> str:
    """RESULTS.md."""
    main = [_heading("network", "arm", "rate", "test accuracy", "validation", "seeds", "s a run")]
    rows = [(n, a) for n in NETWORKS for a in ("head", "float32", "int8")]
    main += [_row(results, network, arm) for network, arm in rows]
    more = [_heading("network", "arm", "rate", "test accuracy", "validation", "seeds", "s a run")]
    more += [_row(results, "mcunet-5fps", arm) for arm in ARMS if arm != "head"]
    tried = [_heading("network", "arm", "rates tried with seed 0: validation accuracy")]
    for network, arm in rows:
        runs = [results.find(network, arm, lr, ARMS[arm].seeds[0]) for lr in ARMS[arm].rates]
        text = ", ".join(f"{r.lr:g}: {_percent([r.validation])}" for r in runs if r is not None)
        tried.append(_line(network, ARMS[arm].title, text or "–"))
    edited = ", ".join(f'"{kind.title}"' for kind in ARMS.values() if kind.changes)
    return _TEXT.format(
        main="\n".join(main), arms="\n".join(more), tried="\n".join(tried), n=len(results.runs), edited=edited
    )


def _row(results: Results, network: str, arm: str) -> str:
    runs, rate = results.cell(network, arm), results.rate(network, arm)
    title = ARMS[arm].title
    if not runs:
        return _line(network, title, "–" if rate is None else f"{rate:g}", "not run", "", "0", "")
    seconds = f"{np.mean([r.seconds for r in runs]):.0f}"
    accuracies = _percent([r.test for r in runs]), _percent([r.validation for r in runs])
    edge = rate in (min(ARMS[arm].rates, default=0.0), max(ARMS[arm].rates, default=0.0))
    return _line(network, title, f"{rate:g}{'*' if edge else ''}", *accuracies, str(len(runs)), seconds)


def _percent(shares: Sequence[float]) -> str:
    """Mean and, of several, the standard deviation (n - 1), in percent."""
    spread = f" ± {100 * np.std(shares, ddof=1):.1f}" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.1f}{spread}"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _heading(*cells: str) -> str:
    return _line(*cells) + "\n" + _line(*["---"] * len(cells))


_TEXT = """# What training on the device is worth

Made by `python -m tests.bench.accuracy` from results.jsonl, which holds seed, date and command of each of its {n}
runs; do not edit.

Photographs of clothes, 10 classes, 3,068 to train on, batch 1, 3 epochs, the rate falling to 0 by a cosine. Percent of
the 372 test photographs, mean ± standard deviation over seeds. One run's figure is known to ± 1.7 points, so smaller
differences between rows say nothing. The learning rate is the best of a short list on the 341 validation photographs
with seed 0; a star says that it is the smallest or largest of the list, so that one beyond it may do better.

- **int8 as shipped**: the emitted C in the host build, bit for bit what the cores compute.
- **float32, same scheme**: NumPy on the network before it was quantised, with the same trained parameters, list of
  rates and order of photographs.
- **head only**: the emitted C, training the float32 classifier on the frozen int8 features: what there is without a
  backward pass through the network.

{main}

## What each part is worth, on mcunet-5fps

The rows below the first two take the rate that was chosen for "int8 as shipped"; with a rate of its own one may do
better.

{arms}

{edited} are no options of the compiler: `arms.py` edits the emitted C.
Seconds are those of a shared machine under load.

## Learning rates

{tried}
"""
