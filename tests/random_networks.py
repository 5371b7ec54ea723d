"""Random float networks of 5 to 20 layers, and onnxruntime's quantiser with every option. A seed makes one graph."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import onnxruntime.quantization as ort

from frontend_graphs import Builder

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Options:
    """How quantize_static is called."""

    form: str  # QDQ or QOperator
    activations: str  # QInt8 or QUInt8
    symmetric: bool
    per_channel: bool
    weights: str = "QInt8"
    weight_zero: bool = False  # WeightSymmetric=False: weights have a zero point

    def __str__(self) -> str:
        grid = "symmetric" if self.symmetric else "asymmetric"
        zero = f"-{self.weights}-zero" if self.weight_zero else ""
        return f"{self.form}-{self.activations}-{grid}-{'channel' if self.per_channel else 'tensor'}{zero}"


class _Network:
    """Draws operators one after the other; `x` is the current tensor of `shape` (channels, *spatial)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder(17, seed)
        self.rank = int(self.rng.integers(1, 3))
        size = (12, 28) if self.rank == 1 else (7, 13)
        self.shape = [self.pick(1, 4), *(self.pick(*size) for _ in range(self.rank))]
        self.input_shape, self.x = (1, *self.shape), "x"
        self.earlier: list[tuple[str, list[int]]] = []

    def pick(self, low: int, high: int) -> int:
        """low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def some(self, low: int, high: int, n: int) -> list[int]:
        return [self.pick(low, high) for _ in range(n)]

    def build(self) -> onnx.ModelProto:
        if self.pick(0, 5) == 0:
            self.clip()
        self.conv()
        steps = [self.conv] * 4 + [self.pool, self.leaky, self.clip, self.residual, self.concat, self.pad, self.swap]
        for _ in range(self.pick(4, 17)):
            self.earlier.append((self.x, list(self.shape)))
            steps[self.pick(0, len(steps) - 1)]()
        return self.finish()

    def conv(self) -> None:
        """Dense, depthwise or grouped; any kernel, stride, dilation and asymmetric padding that fits."""
        n, c = self.rank, self.shape[0]
        k, s, d, p = self.some(1, 3, n), self.some(1, 2, n), self.some(1, 2, n), self.some(0, 2, 2 * n)
        if np.prod(self.shape[1:]) < 30 or self.pick(0, 2):
            s = [1] * n
        size = [(self.shape[1 + i] + p[i] + p[n + i] - (k[i] - 1) * d[i] - 1) // s[i] + 1 for i in range(n)]
        if min(size) < 1 or np.prod(size) > 400:
            return
        groups = [g for g in range(1, c + 1) if c % g == 0]
        group = c if self.pick(0, 3) == 0 else groups[self.pick(0, len(groups) - 1)]
        out = group * self.pick(1, max(1, 12 // group))
        inputs = [self.x, self.b.random(out, c // group, *k, scale=1 / np.sqrt(c // group * np.prod(k)))]
        if self.pick(0, 3):
            inputs.append(self.b.random(out, scale=0.3))
        self.x = self.b.node("Conv", *inputs, kernel_shape=k, strides=s, dilations=d, group=group, pads=p)
        self.shape = [out, *size]
        if self.pick(0, 1):
            self.clip()

    def clip(self) -> None:
        low, high = (self.b.const(v) for v in ((0.0, 6.0), (-0.5, 0.7))[self.pick(0, 1)])
        self.x = self.b.node("Relu", self.x) if self.pick(0, 1) else self.b.node("Clip", self.x, low, high)

    def leaky(self) -> None:
        self.x = self.b.node("LeakyRelu", self.x, alpha=float(self.rng.choice([0.01, 0.1, 0.3])))

    def pool(self) -> None:
        n = self.rank
        if min(self.shape[1:]) < 3:
            return
        k, s = self.some(2, 3, n), self.some(1, 2, n)
        p = [self.pick(0, k[i % n] - 1) for i in range(2 * n)]
        op = ("MaxPool", "AveragePool")[self.pick(0, 1)]
        include = self.pick(0, 1) if op == "AveragePool" else None
        self.x = self.b.node(op, self.x, kernel_shape=k, strides=s, pads=p, count_include_pad=include)
        self.shape[1:] = [(self.shape[1 + i] + p[i] + p[n + i] - k[i]) // s[i] + 1 for i in range(n)]

    def residual(self) -> None:
        same = [name for name, shape in self.earlier if shape == self.shape]
        before, shape = self.x, list(self.shape)
        while len(same) < 1 or self.x == before:
            c = shape[0]
            self.x = self.b.node(
                "Conv", self.x, self.b.random(c, c, *[3] * self.rank, scale=0.3), pads=[1] * 2 * self.rank
            )
            same = [*same, before]
        self.x = self.b.node("Add", self.x, same[self.pick(0, len(same) - 1)])

    def concat(self) -> None:
        fitting = [(n, s) for n, s in self.earlier if s[1:] == self.shape[1:] and n not in (self.x, "x")]
        if not fitting:
            return
        name, shape = fitting[self.pick(0, len(fitting) - 1)]
        if shape[0] + self.shape[0] <= 16:
            self.x = self.b.node("Concat", self.x, name, axis=1)
            self.shape = [shape[0] + self.shape[0], *self.shape[1:]]

    def pad(self) -> None:
        n = self.rank
        amounts = [0, 0, *self.some(0, 2, n), 0, 0, *self.some(0, 2, n)]
        if np.prod(self.shape[1:]) < 150:
            self.x = self.b.node("Pad", self.x, self.b.const(amounts, "i8"), self.b.const(0.0))
            self.shape[1:] = [self.shape[1 + i] + amounts[2 + i] + amounts[4 + n + i] for i in range(n)]

    def swap(self) -> None:
        """Rows become columns."""
        if self.rank == 2:
            self.x = self.b.node("Transpose", self.x, perm=[0, 1, 3, 2])
            self.shape = [self.shape[0], self.shape[2], self.shape[1]]

    def finish(self) -> onnx.ModelProto:
        features = self.shape[0] if self.pick(0, 1) else int(np.prod(self.shape))
        x = self.b.node("GlobalAveragePool", self.x) if features == self.shape[0] else self.x
        y = self.b.node("Flatten", x)
        out, trans = self.pick(2, 6), self.pick(0, 1)
        weight = self.b.random(*((out, features) if trans else (features, out)), scale=1 / np.sqrt(features))
        if self.pick(0, 2):
            y = self.b.node("Gemm", y, weight, self.b.random(out), transB=trans)
        else:
            y = self.b.node("MatMul", y, self.b.random(features, out, scale=1 / np.sqrt(features)))
        return self.b.model(self.input_shape, y)


def network(seed: int) -> onnx.ModelProto:
    """The float network of `seed`, input x, batch 1."""
    return _Network(seed).build()


def samples(model: onnx.ModelProto, seed: int, n: int) -> Array:
    """n normally distributed inputs (n, *input) with a mean of a third, so that grids are not symmetric by chance."""
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return (np.random.default_rng(seed).standard_normal((n, *dims[1:])) + 1 / 3).astype(np.float32)


class _Reader(ort.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, x: Array) -> None:
        self.rest: Iterator[Array] = iter(x)

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self.rest, None)
        return None if sample is None else {"x": sample[None]}


def quantized(model: onnx.ModelProto, x: Array, options: Options) -> onnx.ModelProto:
    """quantize_static(model) calibrated on x.

    With uint8 activations int8 weights have 7 bits: onnxruntime's kernels for x86 without VNNI add pairs of products in
    saturating int16, which 8 bits overflow; the integers of such a run are wrong. Those for uint8 weights are exact.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.helper.set_model_props(copy, {"onnx.quant.pre_process": "onnxruntime.quant"})
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "q.onnx"
            ort.quantize_static(
                copy,
                path,
                _Reader(x),
                quant_format=ort.QuantFormat[options.form],
                per_channel=options.per_channel,
                reduce_range=(options.activations, options.weights) == ("QUInt8", "QInt8"),
                activation_type=ort.QuantType[options.activations],
                weight_type=ort.QuantType[options.weights],
                extra_options={
                    "ActivationSymmetric": options.symmetric,
                    "WeightSymmetric": not options.weight_zero,
                    "ForceQuantizeNoInputCheck": True,
                },
            )
            return onnx.load(path)
    finally:
        logging.disable(level)
        onnxruntime.set_default_logger_severity(2)
