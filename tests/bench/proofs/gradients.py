"""Is every gradient true? Of each published network, the emitted C's own gradients against float64 reverse mode.

python -m tests.bench.proofs.gradients                          what gradients.jsonl lacks, then GRADIENTS.md
python -m tests.bench.proofs.gradients --only vww/int8          one of them
python -m tests.bench.proofs.gradients --again                  everything anew
"""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mcugrad.graph import Model
from mcugrad.pipeline import compile_model

from .networks import NETWORKS, TEST, TRAIN, Array, Network, on_grid
from .observed import ObservedSteps
from .options import AGAIN, chosen

HERE = Path(__file__).parent
RESULTS, TABLE = HERE / "gradients.jsonl", HERE / "GRADIENTS.md"
ERRORS = ("float32", "int16", "int8")
LEAST_MEAN = {"float32": 0.999, "int16": 0.999, "int8": 0.95}
IMAGES, WARM_UP = 32, 64


@dataclass(frozen=True)
class Tensor:
    """One trained tensor over all samples. Cosines are of the gradients by its integers (by its floats in the head).

    `real_mean`: of the gradients by the real values, integer times scale; `elements`: how many train;
    `without_gradient`: samples at which both gradients are zero, which are left out of `mean` and `worst`.
    """

    name: str
    elements: int
    mean: float
    worst: float
    worst_sample: int
    real_mean: float
    without_gradient: int


@dataclass(frozen=True)
class Run:
    """One network with one type of errors. `largest_loss_difference`: relative, between the C and float64; `clipped`:
    samples at which an error was larger than predicted and saturated."""

    network: str
    errors: str
    samples: int
    warm_up: int
    largest_loss_difference: float
    clipped: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    date: str
    command: str

    @property
    def lowest(self) -> Tensor:
        return min(self.tensors, key=lambda t: t.mean)


def measure(network: Network, model: Model, errors: str, samples: int = IMAGES, warm_up: int = WARM_UP) -> Run:
    """Train on `warm_up` samples, then compare the next step's gradients for `samples` others, each from that state."""
    # Only the command and its test need the oracle; the other commands do not load it.
    from reverse_mode import gradients

    compiled = compile_model(model, network.training_scheme(errors), network.loss)
    model = compiled.model  # its channels may have been permuted
    main, losses, clipped = model.module["main"], [], []
    pairs: dict[str, list[tuple[Array, Array]]] = {name: [] for name in compiled.selection.names}
    with tempfile.TemporaryDirectory() as folder:
        steps = ObservedSteps(compiled, Path(folder))
        x, y = network.draw(warm_up, TRAIN)
        saved = steps.warm_up(on_grid(model, x), y, network.rate)
        steps.host.restore(saved)
        state = steps.host.state()
        point = {p.name: state.get(p.name, p.value) for p in model.parameters}
        x, y = network.draw(samples, TEST)
        for i, (sample, target) in enumerate(zip(on_grid(model, x), y, strict=True)):
            loss, emitted = steps.gradients(saved, sample, target)
            if steps.host.counters()[0]:
                clipped.append(i)
            at = {**point, main.params[0].name: sample.reshape(model.input_shape)}
            true_loss, true = gradients(main, at, compiled.selection.names, np.atleast_1d(target))
            losses.append(abs(loss - true_loss) / max(1.0, abs(true_loss)))
            for name, found in pairs.items():
                found.append((emitted[name], true[name]))
    tensors = tuple(_tensor(model, name, found) for name, found in pairs.items())
    command = f"python -m tests.bench.proofs.gradients --only {network.scheme}/{errors}"
    date = datetime.date.today().isoformat()
    counts = samples, warm_up, float(f"{max(losses):.2g}"), tuple(clipped)
    return Run(network.scheme, errors, *counts, tensors, date, command)


def _tensor(model: Model, name: str, pairs: Sequence[tuple[Array, Array]]) -> Tensor:
    scale = model.parameter(name).scale.astype(np.float64)
    trained = np.isfinite(pairs[0][0])
    own = np.broadcast_to(scale.reshape(-1, *[1] * (trained.ndim - 1)), trained.shape)[trained]
    cosines, real = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    for i, (emitted, true) in enumerate(pairs):
        assert (np.isfinite(emitted) == trained).all(), f"{name}: other elements train at sample {i}"
        a, b = emitted[trained], true[trained]
        if a.any() or b.any():
            cosines[i], real[i] = cosine(a, b), cosine(a / own, b / own)
    assert np.isfinite(cosines).any(), f"{name}: no sample has a gradient"
    worst = int(np.nanargmin(cosines))
    mean, lowest, real_mean = (round(float(v), 6) for v in (np.nanmean(cosines), cosines[worst], np.nanmean(real)))
    return Tensor(name, int(trained.sum()), mean, lowest, worst, real_mean, int(np.isnan(cosines).sum()))


def cosine(a: Array, b: Array) -> float:
    """0 where one of them is zero."""
    return float(a.ravel() @ b.ravel() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))


# ---- results ---------------------------------------------------------------------------------------------------------


def read(path: Path = RESULTS) -> list[Run]:
    """The runs that were done."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    runs = [json.loads(line) for line in lines]
    tuples = [{"tensors": tuple(Tensor(**t) for t in run["tensors"]), "clipped": tuple(run["clipped"])} for run in runs]
    return [Run(**{**run, **more}) for run, more in zip(runs, tuples, strict=True)]


def table(runs: Sequence[Run]) -> str:
    """GRADIENTS.md."""
    order = [(network, errors) for network in NETWORKS for errors in ERRORS]
    runs = sorted(runs, key=lambda r: order.index((r.network, r.errors)))
    summary = [
        f"| {r.network} | {r.errors} | {r.samples} | {len(r.tensors)} | {r.lowest.mean:.6f} | {r.lowest.name} "
        f"| {min(t.worst for t in r.tensors):.6f} | {min(t.real_mean for t in r.tensors):.6f} "
        f"| {len(r.clipped)} |"
        for r in runs
    ]
    details = []
    for r in runs:
        rows = [
            f"| {t.name} | {t.elements} | {t.mean:.6f} | {t.worst:.6f} | {t.worst_sample} | {t.real_mean:.6f} "
            f"| {t.without_gradient} |"
            for t in r.tensors
        ]
        details += [f"\n### {r.network}, {r.errors} errors\n\n`{r.command}`, {r.date}\n", _HEADING, *rows]
    return _TEXT.format(summary="\n".join(summary), details="\n".join(details), images=IMAGES, warm_up=WARM_UP)


_HEADING = """| tensor | elements | mean cosine | worst | its sample | mean, real units | samples without gradient |
| --- | --- | --- | --- | --- | --- | --- |"""
_TEXT = """# Every gradient of the published networks is true

Made by `python -m tests.bench.proofs.gradients` from gradients.jsonl; do not edit.

The emitted C runs on this machine (gcc -O2). It trains on {warm_up} samples of the training split, so that the fresh
classifier has left zero and the error scales are predicted, as in training; then, from that state, the gradients that
its next step applies are read where the kernels apply them (`observed.py`), for each of {images} samples of the test
split. Beside them: reverse mode in float64 over the imported graph, rounding removed, saturation masks held
(`tests/reverse_mode.py`, itself checked against finite differences).

Photographs of clothes (96x96 for vww), MFCCs of keywords (kws), random spectra (autoencoder; there are no recordings).
VWW, KWS and the autoencoder are quantised by `mcugrad` with 32 such samples of the training split.

- Cosines are of gradients by a tensor's integers, which are the parameters of the quantised graph. "Real units"
  divides both by the scale of the weight's channel; there the channels with the smallest scales weigh most. vww has
  some of a ten-thousandth of the largest, whose errors are a fraction of a quantum.
- A tensor's samples at which both gradients are exactly zero are counted and left out.
- At a sample that clips, an error was larger than the steps before let predict. Where the errors are some hundred times
  smaller than predicted, int8 errors round to zero and so does the gradient. The lowest cosines of int8 and int16 are
  of these two kinds.

| network | errors | samples | tensors | lowest mean | of tensor | worst | lowest mean, real units | samples that clip |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{summary}

{details}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    cells = [f"{network}/{errors}" for network in NETWORKS for errors in ERRORS]
    wanted, again = chosen("gradients", __doc__, cells, "NETWORK/ERRORS", arguments, again=AGAIN)
    runs = {f"{r.network}/{r.errors}": r for r in read()}
    if again:
        runs = {cell: run for cell, run in runs.items() if cell not in wanted}
    for name, network in NETWORKS.items():
        missing = [e for e in ERRORS if f"{name}/{e}" in wanted and f"{name}/{e}" not in runs]
        model = network.model() if missing else None
        for errors in missing:
            assert model is not None
            run = runs[f"{name}/{errors}"] = measure(network, model, errors)
            lines = [json.dumps(asdict(runs[cell])) + "\n" for cell in cells if cell in runs]
            RESULTS.write_text("".join(lines), encoding="utf-8")
            TABLE.write_text(table(list(runs.values())), encoding="utf-8")
            print(f"{name} {errors}: lowest mean cosine {run.lowest.mean} of {run.lowest.name}", flush=True)
    TABLE.write_text(table(list(runs.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
