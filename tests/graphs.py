"""Small float ONNX graphs for whole-model tests, and their way to a quantised and typed model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from frontend_graphs import Builder, shape_of
from mcugrad import frontend
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model
from mcugrad.program import Program
from mcugrad.scheme import Channels, Scheme

WATCH = Path(__file__).parents[1] / "models" / "watch" / "watch-unseen-2.onnx"


def residual_2d(seed: int = 0, outputs: int = 5) -> onnx.ModelProto:
    """(1, 3, 13, 11) -> (1, outputs): strides, asymmetric pads, depthwise, grouped, dilated, Relu, Clip, LeakyRelu, two
    residual sums, a tensor used three times, both pools, Pad, Concat on channels, rows and columns, Gemm."""
    b = Builder(seed=seed)
    x = _conv(b, "x", "stem", 3, 8, 3, strides=[2, 2], pads=[1, 0, 0, 1])
    x = b.node("Relu", x, name="stem.relu")  # (8, 6, 5)
    y = _conv(b, x, "depthwise", 8, 8, 3, group=8, pads=[1, 1, 1, 1])
    y = b.node("Clip", y, b.const(0.0), b.const(1.5), name="depthwise.clip")
    y = _conv(b, y, "grouped", 8, 8, 1, group=2)
    y = b.node("LeakyRelu", y, alpha=0.2, name="leaky")
    x = b.node("Add", x, y, name="sum1")
    y = _conv(b, x, "dilated", 8, 8, 3, dilations=[2, 1], pads=[2, 1, 2, 1])
    z = b.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="peak")
    x = b.node("Add", b.node("Add", x, y, name="sum2"), z, name="sum3")
    small = b.node("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1, name="max")  # (8, 3, 3)
    even = b.node(
        "AveragePool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1, name="avg"
    )
    joined = b.node("Concat", small, even, axis=1, name="join")  # (16, 3, 3)
    joined = b.node("Pad", joined, b.const([0, 0, 0, 1, 0, 0, 1, 0], "i8"), name="pad")  # (16, 4, 4)
    y = _conv(b, joined, "point", 16, 6, 1)
    z = _conv(b, joined, "wide", 16, 6, (1, 3), pads=[0, 1, 0, 1])
    y = b.node("Concat", y, z, axis=2, name="join.rows")  # (6, 8, 4)
    y = b.node("Concat", y, b.node("Relu", y, name="relu"), axis=3, name="join.columns")  # (6, 8, 8)
    y = _conv(b, y, "last", 6, 12, 3, strides=[2, 1])
    y = b.node("Flatten", b.node("GlobalAveragePool", y, name="mean"), name="flat")
    y = b.node("Gemm", y, b.random(outputs, 12, scale=0.3), b.random(outputs, scale=0.1), transB=1, name="head")
    return b.model((1, 3, 13, 11), y)


def separable() -> onnx.ModelProto:
    """(1, 3, 8, 8) -> (1, 4): 1x1 to 32 channels, 1x1, depthwise and 1x1 again, as wide, with Relu; mean, Gemm."""
    b = Builder()
    x = b.node("Relu", _conv(b, "x", "stem", 3, 32, 1))
    x = b.node("Relu", _conv(b, x, "first", 32, 32, 1))
    x = b.node("Relu", _conv(b, x, "depthwise", 32, 32, 3, group=32, pads=[1] * 4))
    x = b.node("Relu", _conv(b, x, "last", 32, 32, 1))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model((1, 3, 8, 8), b.node("Gemm", x, b.random(4, 32, scale=0.3), b.random(4), transB=1, name="head"))


def _conv(
    b: Builder,
    x: str,
    name: str,
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    group: int = 1,
    **attrs: Any,
) -> str:
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    fan_in = inputs // group * size[0] * size[1]
    weight = b.random(outputs, inputs // group, *size, scale=(1.5 / fan_in) ** 0.5)
    return b.node("Conv", x, weight, b.random(outputs, scale=0.1), name=name, group=group, **attrs)


def watch() -> onnx.ModelProto:
    """The float watch network, prepared: (1, 6, 100) -> (1, 7)."""
    return frontend.prepare(frontend.load_model(WATCH))


def samples(model: onnx.ModelProto, n: int = 24, seed: int = 0) -> npt.NDArray[np.float32]:
    """n normally distributed inputs of a model."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape_of(model)[1:])).astype(np.float32)


def imported(model: onnx.ModelProto, name: str = "net", *, float_head: bool = True) -> Model:
    """A float model, quantised on random data and imported."""
    from mcugrad.frontend.importer import import_model

    return import_model(frontend.quantize(model, samples(model)), name, float_head=float_head)


def training_parts(model: Model, errors: str = "int8", **weight: float | Channels) -> Program:
    """The program that trains these parts of weights, and the biases of the layer `stem`."""
    scheme = Scheme.model_validate({"errors": errors, "weight": weight, "bias": {"layers": ["stem"]}})
    return compile_model(model, scheme).program
