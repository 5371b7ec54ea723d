"""The float32 side: the same scheme on the network before it was quantised, in NumPy, the frozen prefix run once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mcugrad.scheme import Scheme, load_scheme
from models.float_graph import FloatGraph
from models.float_ops import Array, Layer
from models.watch.finetune_float import FloatResult, Mask, Trainable, accuracy, finetune

from . import photographs
from .cut import cut
from .networks import CLASSES, Network

CHUNK = 32


@dataclass(frozen=True)
class Reference:
    """One network: `suffix` (ONNX) is trained on the prefix's outputs `x` (n, c, h, w), float32."""

    suffix: Path
    x: Array
    labels: photographs.Labels
    trainable: Trainable

    @staticmethod
    def of(network: Network) -> Reference:
        """Cut the network, compute the features of every photograph (cached)."""
        halves = cut(onnx.load(network.float32), network.first)
        where = network.work / "float32"
        where.mkdir(parents=True, exist_ok=True)
        onnx.save(halves.suffix, where / "suffix.onnx")
        scheme = load_scheme(str(network.scheme_file))
        assert isinstance(scheme, Scheme)
        trainable = same_parameters(scheme, FloatGraph.load(where / "suffix.onnx"))
        return Reference(where / "suffix.onnx", _features(halves.prefix, where), photographs.labels(), trainable)

    def train(self, lr: float, seed: int, epochs: int) -> FloatResult:
        """Train from the published weights; the figures of the result are those of the validation split."""
        train, validation = self._data("train"), self._data("validation")
        kind = self.trainable
        return finetune(self.suffix, train, validation, epochs, lr, "cosine", seed, kind, classes=CLASSES)

    def accuracy(self, result: FloatResult, split: str) -> float:
        """Share of a split's photographs that the trained graph gets right."""
        return accuracy(result.graph, self._data(split))

    def _data(self, split: str) -> tuple[Array, Array]:
        rows = self.labels.rows(split)
        return self.x[rows], self.labels.y[rows]


def same_parameters(scheme: Scheme, graph: FloatGraph) -> Trainable:
    """What `scheme` trains, as masks: the head, the last biases before it, input channels of named weights."""
    body = [name for name in graph.layers if name != graph.head]
    biases = set(body[len(body) - scheme.bias.last :]) | set(scheme.bias.layers)

    def choose(layer: Layer) -> tuple[Mask, Mask]:
        if layer.name == graph.head:
            return True, True
        share = scheme.weight.get(layer.name)
        if share is None:
            return False, layer.name in biases
        assert isinstance(share, float), "these schemes name shares"
        inputs = layer.weight.shape[1]
        mask = (np.arange(inputs) < np.ceil(share * inputs)).astype(layer.weight.dtype)
        return mask.reshape(1, inputs, *[1] * (layer.weight.ndim - 2)), layer.name in biases

    return choose


def _features(prefix: onnx.ModelProto, where: Path) -> Array:
    """The prefix's output for every photograph, by onnxruntime: it is only read, so any float32 forward will do."""
    import onnxruntime

    data = prefix.SerializeToString(deterministic=True)
    cache = where / f"features-{hashlib.sha256(data).hexdigest()[:12]}.npy"
    if not cache.exists():
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        images, name = photographs.pixels(), session.get_inputs()[0].name
        parts = [
            session.run(None, {name: photographs.real(images[i : i + CHUNK])})[0] for i in range(0, len(images), CHUNK)
        ]
        part = cache.with_suffix(".part.npy")
        np.save(part, np.concatenate(parts))
        part.replace(cache)
    features: Array = np.load(cache)
    return features
