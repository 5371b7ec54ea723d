"""Fine-tune a float ONNX model with NumPy the way the device does: the float32 figure beside the device's.

    python -m models.watch.finetune_float MODEL.onnx TRAIN.npz TEST.npz --seed 0 1 2

Batch 1, plain SGD, softmax cross-entropy, the rate decaying over a planned number of steps, the head at half of it.
The samples come in the device's order: a seed means the same shuffles here and there, so the two runs are a pair.
No PyTorch. Works for any classifier that `models.float_graph` reads.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcugrad.simulate.session import shuffle_order
from models import watch
from models.float_graph import FloatGraph
from models.float_ops import Array, Layer, Wanted

Schedule = Literal["cosine", "linear", "constant"]
Mask = bool | Array  # which elements of a parameter train; an array broadcasts to it (0 or 1)
Trainable = Callable[[Layer], tuple[Mask, Mask]]  # layer -> (weight, bias)
Dataset = tuple[Array, NDArray[np.integer[Any]]]  # x (n, ...) float32, y (n,) class indices

HEAD_RATE = 0.5  # the head's learning rate relative to the other layers'
SCHEMES = ("all", "head", "biases", "none")


@dataclass(frozen=True)
class FloatResult:
    """Accuracies are shares of the held-out samples; `losses` is the mean training loss of each epoch."""

    accuracy_before: float
    accuracy_after: float
    losses: list[float]
    steps: int
    graph: FloatGraph  # with the trained parameters


def scheme(name: str, head: str) -> Trainable:
    """The named schemes: everything; the layer called `head`; every bias and the head; nothing."""
    if name not in SCHEMES:
        raise ValueError(f"there is no training scheme '{name}'; the named ones are {', '.join(SCHEMES)}")

    def choose(layer: Layer) -> tuple[Mask, Mask]:
        whole = name == "all" or (name != "none" and layer.name == head)
        return whole, whole or name == "biases"

    return choose


def learning_rate(schedule: Schedule, rate: float, step: int, steps: int) -> float:
    """The rate of `step` (0 first) of `steps`: falls to zero at the end, unless constant."""
    if schedule == "cosine":
        return float(rate * 0.5 * (1 + np.cos(np.pi * step / steps)))
    return rate * (1 - step / steps) if schedule == "linear" else rate


def cross_entropy(logits: Array, labels: NDArray[np.integer[Any]]) -> tuple[float, Array]:
    """Sum over samples of -log softmax(logits)[label], and its gradient (n, classes)."""
    shifted = logits - logits.max(1, keepdims=True)
    exponent = np.exp(shifted)
    total = exponent.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    gradient = exponent / total
    gradient[rows, labels] -= 1
    return float((np.log(total[:, 0]) - shifted[rows, labels]).sum()), gradient


def accuracy(graph: FloatGraph, data: Dataset, chunk: int = 32) -> float:
    """Share of samples whose largest output is their class."""
    x, y = data
    hits = sum(
        int((graph.forward(x[i : i + chunk]).reshape(-1, _classes(graph)).argmax(1) == y[i : i + chunk]).sum())
        for i in range(0, len(y), chunk)
    )
    return hits / len(y)


def finetune(
    model: str | Path,
    train: Dataset,
    test: Dataset,
    epochs: int,
    lr: float,
    schedule: Schedule = "cosine",
    seed: int = 0,
    trainable: str | Trainable = "all",
    *,
    head_rate: float = HEAD_RATE,
    classes: int | None = None,
    dtype: type[np.floating[Any]] = np.float32,
) -> FloatResult:
    """Train `model` on `train`, one sample a step; accuracy on `test` before and after.

    `trainable`: a named scheme or a function layer -> (weight, bias) masks. `classes`: begin with a new head of zeros.
    Raises ValueError for data that does not suit the model and when the loss stops being finite.
    """
    graph = FloatGraph.load(model, dtype)
    if classes is not None:
        _fresh_head(graph, classes)
    choose = scheme(trainable, graph.head) if isinstance(trainable, str) else trainable
    train, test = _checked(graph, train, dtype), _checked(graph, test, dtype)
    before = accuracy(graph, test)
    masks = {name: choose(layer) for name, layer in graph.layers.items()}
    rates = {name: head_rate if name == graph.head else 1.0 for name in masks}
    losses, step, steps = [], 0, epochs * len(train[1])
    for epoch in range(epochs):
        total = 0.0
        for i in shuffle_order(len(train[1]), seed, epoch):
            rate = learning_rate(schedule, lr, step, steps)
            total += _step(graph, train[0][i : i + 1], train[1][i : i + 1], rate, masks, rates)
            step += 1
        if not np.isfinite(total):
            raise ValueError(f"the loss is not finite in epoch {epoch + 1}: lower the learning rate {lr}")
        losses.append(total / len(train[1]))
    return FloatResult(before, accuracy(graph, test), losses, step, graph)


def _step(
    graph: FloatGraph,
    x: Array,
    y: NDArray[np.integer[Any]],
    rate: float,
    masks: dict[str, tuple[Mask, Mask]],
    rates: dict[str, float],
) -> float:
    """One sample: forward, backward, update in place; returns its loss."""
    output, tape = graph.record(x)
    loss, error = cross_entropy(output.reshape(1, -1), y)
    wanted: dict[str, Wanted] = {
        name: (_any(weight), _any(bias) and graph.layers[name].bias is not None)
        for name, (weight, bias) in masks.items()
    }
    for name, gradients in graph.backward(error.reshape(output.shape), tape, wanted).items():
        layer = graph.layers[name]
        for value, gradient, mask in zip((layer.weight, layer.bias), gradients, masks[name], strict=True):
            if value is not None and gradient is not None:
                gradient *= value.dtype.type(rate * rates[name])
                value -= gradient if isinstance(mask, bool) else gradient * mask
    return loss


def _any(mask: Mask) -> bool:
    return mask if isinstance(mask, bool) else bool(np.any(mask))


def _classes(graph: FloatGraph) -> int:
    return int(graph.layers[graph.head].weight.shape[0])


def _fresh_head(graph: FloatGraph, classes: int) -> None:
    head = graph.layers[graph.head]
    head.weight = np.zeros((classes, *head.weight.shape[1:]), head.weight.dtype)
    head.bias = np.zeros(classes, head.weight.dtype)


def _checked(graph: FloatGraph, data: Dataset, dtype: type[np.floating[Any]]) -> Dataset:
    x, y = np.asarray(data[0], dtype), np.asarray(data[1])
    if len(x) != len(y) or not len(y):
        raise ValueError(f"{len(x)} samples and {len(y)} labels: both must be as many, and at least one")
    if y.min() < 0 or y.max() >= _classes(graph):
        raise ValueError(f"labels run from {y.min()} to {y.max()}, the model has classes 0 to {_classes(graph) - 1}")
    return x, y


def load_npz(path: Path) -> Dataset:
    """The arrays x and y of an .npz file without pickles."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["x"], arrays["y"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="fine-tune a float ONNX classifier with NumPy, one sample a step")
    parser.add_argument("model", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--epochs", type=int, default=watch.EPOCHS)
    parser.add_argument("--lr", type=float, default=watch.LEARNING_RATE)
    parser.add_argument("--schedule", choices=("cosine", "linear", "constant"), default=watch.SCHEDULE)
    parser.add_argument("--train-scheme", choices=SCHEMES, default=watch.SCHEME)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    options = parser.parse_args(arguments)
    train, test = load_npz(options.train), load_npz(options.test)
    for seed in options.seed:
        result = finetune(
            options.model, train, test, options.epochs, options.lr, options.schedule, seed, options.train_scheme
        )
        print(
            f"seed {seed}: {result.accuracy_before:.3f} -> {result.accuracy_after:.3f} after {result.steps} steps, "
            f"loss {result.losses[0]:.3f} -> {result.losses[-1]:.3f}"
        )


if __name__ == "__main__":
    main()
