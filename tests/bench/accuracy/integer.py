"""Training as it is shipped: the emitted C, built for this machine. The frozen prefix, also emitted C, runs once."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mcugrad import frontend
from mcugrad.pipeline import Options, compile_file
from mcugrad.samples import quantize_samples
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import Firmware, build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session

from . import photographs
from .arms import Arm
from .cut import Halves, cut
from .networks import CLASSES, Network
from .photographs import Array

COMMAND = "tests.bench.accuracy"  # goes into the manifests
CHUNK = 512  # photographs a session of the prefix


@dataclass(frozen=True)
class Trained:
    """`state`: the trained parameters. Counts are of the device's own counters."""

    losses: tuple[float, ...]
    clipped_errors: int
    saturated_weights: int
    not_finite: int
    state: bytes


class Trainer:
    """One network and arm: compiles, computes the features of every photograph, then trains as often as asked."""

    def __init__(self, network: Network, arm: Arm) -> None:
        halves = _halves(network, "head" if arm.head_only else network.first)
        where = network.work / halves.joint.replace("/", "_")
        self.x = _features(halves, where)
        self.labels = photographs.labels()
        folder = network.work / f"suffix-{arm.name}"
        source = _write(halves.suffix, network.work / f"suffix-{arm.name}.onnx")
        compile_file(source, folder, Options("host", train=arm.scheme(network)), [COMMAND])
        arm.patch(folder)
        self.firmware = _build(folder)
        self.schedule = arm.schedule

    def train(self, lr: float, seed: int, epochs: int) -> Trained:
        """Train from the factory's weights on the train split, one photograph a step."""
        records = self._records("train")
        session = Session(Mode.TRAIN, CLASSES, records, None, epochs, lr, self.schedule, seed)
        result = run_session(self.firmware, session)
        counts = result.clipped_errors, result.saturated_weights, result.not_finite
        return Trained(tuple(map(float, result.losses)), *counts, result.state)

    def accuracy(self, trained: Trained, split: str) -> float:
        """Share of a split's photographs that the trained state gets right."""
        records = self._records(split)
        session = Session(Mode.EVALUATE, CLASSES, test=records, state=trained.state)
        return run_session(self.firmware, session).correct_after / len(records)

    def _records(self, split: str) -> Records:
        rows = self.labels.rows(split)
        return Records(self.x[rows], self.labels.y[rows])


def whole(network: Network) -> onnx.ModelProto:
    """The canonical quantised graph with a fresh head of zeros."""
    prepared = frontend.prepare(frontend.load_model(network.int8))
    return frontend.replace_classifier(prepared, CLASSES)


def _halves(network: Network, first: str) -> Halves:
    return cut(whole(network), first)


def run_prefix(halves: Halves, folder: Path, images: Array) -> Array:
    """What the prefix, as emitted C, makes of uint8 photographs: the suffix's input, int8 (n, *)."""
    compile_file(_write(halves.prefix, folder / "prefix.onnx"), folder / "prefix", Options("host"), [COMMAND])
    firmware, manifest = _build(folder / "prefix"), read_manifest(folder / "prefix")
    shape = manifest["output"]["shape"][1:]
    parts = []
    for i in range(0, len(images), CHUNK):
        x = quantize_samples(photographs.real(images[i : i + CHUNK]), manifest)
        records = Records(x, np.zeros(len(x), np.int64))
        session = Session(Mode.PREDICT, int(np.prod(shape)), test=records)
        parts.append(run_session(firmware, session).outputs.reshape(len(x), *shape))
    return _on_grid(np.concatenate(parts), halves.suffix)


def _features(halves: Halves, where: Path) -> Array:
    """The suffix's input for every photograph, cached under the prefix's own hash."""
    digest = hashlib.sha256(halves.prefix.SerializeToString(deterministic=True)).hexdigest()[:12]
    cache = where / f"features-{digest}.npy"
    if not cache.exists():
        where.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(".part.npy")
        np.save(part, run_prefix(halves, where, photographs.pixels()))
        part.replace(cache)
    features: Array = np.load(cache)
    return features


def _on_grid(real: Array, suffix: onnx.ModelProto) -> Array:
    """The integers that `real`, which lies on the grid, was dequantised from."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in suffix.graph.initializer}
    node = next(n for n in suffix.graph.node if n.input[0] == suffix.graph.input[0].name)
    scale, zero = float(constants[node.input[1]]), constants[node.input[2]]
    shift = 128 if zero.dtype == np.uint8 else 0
    q = np.rint(real.astype(np.float64) / scale) + (int(zero) - shift)
    assert q.min() >= -128
    assert q.max() <= 127
    return q.astype(np.int8)


def _build(folder: Path) -> Firmware:
    """With clang where it is installed, twice as fast here, and all of this machine's instructions: neither changes a
    bit, as tests/device proves."""
    host = load_board("host").model_copy(update={"cpu_flags": ("-march=native",)})
    return build(folder, host, compiler="clang" if shutil.which("clang") else "gcc", optimize="-O3")


def _write(model: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
