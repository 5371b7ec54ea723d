"""Trains what has not been trained yet, and writes RESULTS.md.

python -m tests.bench.accuracy                             everything, the most telling runs first
python -m tests.bench.accuracy --only mcunet-5fps/int8     one cell: its learning rate, then its seeds
python -m tests.bench.accuracy --table                     RESULTS.md again from results.jsonl, nothing is trained
"""

from __future__ import annotations

import argparse
import datetime
import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .arms import ARMS
from .networks import NETWORKS
from .results import EPOCHS, HERE, Results, Run, table

if TYPE_CHECKING:
    from .integer import Trainer
    from .reference import Reference

HEADS = [(network, "head") for network in NETWORKS]
MAIN = [
    *(("mcunet-5fps", arm) for arm in ("int8", "float32")),
    *((network, arm) for arm in ("int8", "float32") for network in NETWORKS if network != "mcunet-5fps"),
]
PARTS = [("mcunet-5fps", arm) for arm in ARMS if arm not in ("head", "int8", "float32")]


def _train(results: Results, chosen: Sequence[str]) -> None:
    """The cells of the first table one after the other; those of the second seed by seed, so that each soon has one."""
    for network, arm in (*HEADS, *MAIN):
        if f"{network}/{arm}" in chosen:
            train_cell(results, network, arm)
    for seed in dict.fromkeys(seed for _, arm in PARTS for seed in ARMS[arm].seeds):
        for network, arm in PARTS:
            if f"{network}/{arm}" in chosen and seed in ARMS[arm].seeds:
                train_cell(results, network, arm, [seed])


def train_cell(results: Results, network: str, arm: str, seeds: Sequence[int] = ()) -> None:
    """Choose the learning rate where that is still to do, then train `seeds` (default: all of the arm's) with it."""
    chooser = arm if ARMS[arm].rates else ARMS[arm].rate_of
    for lr in ARMS[chooser].rates:
        _once(results, network, chooser, lr, ARMS[chooser].seeds[0])
    rate = results.rate(network, arm)
    assert rate is not None
    for seed in seeds or ARMS[arm].seeds:
        _once(results, network, arm, rate, seed)


def _once(results: Results, network: str, arm: str, lr: float, seed: int) -> None:
    if results.find(network, arm, lr, seed) is not None:
        return
    run = _float32(network, lr, seed) if arm == "float32" else _integer(network, arm, lr, seed)
    results.add(run)
    (HERE / "RESULTS.md").write_text(table(results), encoding="utf-8")
    print(f"{network} {arm} rate {lr:g} seed {seed}: test {run.test:.4f} in {run.seconds:.0f} s", flush=True)


def _integer(network: str, arm: str, lr: float, seed: int) -> Run:
    trainer = _trainer(network, arm)
    begin = time.perf_counter()
    trained = trainer.train(lr, seed, EPOCHS)
    seconds = time.perf_counter() - begin
    validation, test = trainer.accuracy(trained, "validation"), trainer.accuracy(trained, "test")
    counts = trained.clipped_errors, trained.saturated_weights, trained.not_finite
    return _run(network, arm, lr, seed, validation, test, trained.losses, counts, seconds)


def _float32(network: str, lr: float, seed: int) -> Run:
    reference = _reference(network)
    begin = time.perf_counter()
    result = reference.train(lr, seed, EPOCHS)
    seconds = time.perf_counter() - begin
    test = reference.accuracy(result, "test")
    return _run(network, "float32", lr, seed, result.accuracy_after, test, result.losses, (0, 0, 0), seconds)


@functools.lru_cache(1)
def _trainer(network: str, arm: str) -> Trainer:
    from .integer import Trainer

    return Trainer(NETWORKS[network], ARMS[arm])


@functools.lru_cache(1)
def _reference(network: str) -> Reference:
    from .reference import Reference

    return Reference.of(NETWORKS[network])


def _run(
    network: str,
    arm: str,
    lr: float,
    seed: int,
    validation: float,
    test: float,
    losses: Sequence[float],
    counts: tuple[int, int, int],
    seconds: float,
) -> Run:
    rounded = tuple(round(float(loss), 5) for loss in losses)
    command = f"python -m tests.bench.accuracy --only {network}/{arm}"
    shares = round(validation, 5), round(test, 5)
    date = datetime.date.today().isoformat()
    return Run(network, arm, lr, seed, EPOCHS, *shares, rounded, *counts, round(seconds, 1), date, command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.bench.accuracy", description=__doc__, formatter_class=raw)
    cells = [f"{network}/{arm}" for network, arm in (*HEADS, *MAIN, *PARTS)]
    parser.add_argument("--only", action="append", choices=cells, metavar="NETWORK/ARM", help=", ".join(cells))
    parser.add_argument("--table", action="store_true", help="write RESULTS.md, train nothing")
    options = parser.parse_args(arguments)
    results = Results()
    if not options.table:
        _train(results, options.only or cells)
    (HERE / "RESULTS.md").write_text(table(results), encoding="utf-8")


if __name__ == "__main__":
    main()
