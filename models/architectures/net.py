"""Emits the nodes of one ONNX graph, with fresh weights and with the names and attributes of the published files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from mcugrad.errors import McugradError

OPSET = 17
_IR_VERSION = 8  # the one that belongs to opset 17
_MEAN_OF_RELU = 1 / math.sqrt(2 * math.pi)  # of a standard normal variable
_VARIANCE_OF_RELU = (
    0.38  # 0.34 of a normal one; channels of unlike means add the rest, or the deepest graphs would grow
)
_CORRELATION = 0.5  # assumed of one channel's values in one window: between noise (0) and a smooth image (1)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tensor:
    """An activation: its shape without the batch, and the mean and variance expected of its elements."""

    name: str
    shape: tuple[int, ...]
    mean: float
    variance: float


class Net:
    """Collects nodes in execution order; each method adds one and returns its output.

    A convolution with a layer name is written as in the files that came from PyTorch: symmetric padding, tensors named
    after the layer. One without a name is written as in those that came from TensorFlow: SAME padding, which is
    asymmetric where the stride asks for it, and a running number in every name.

    Weights stand for what folding a batch normalisation would leave: each filter is random of the length, and each bias
    of the size, that give outputs of mean 0 and variance 1 for inputs of the expected mean and variance (He's rule,
    with the mean removed). So activations stay in range at any depth.
    """

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._rng = np.random.default_rng(seed)
        self._count = 0
        self._inputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def input(self, name: str, shape: tuple[int, ...], mean: float, variance: float) -> Tensor:
        """The graph's float32 input (N, *shape); mean and variance are those of typical samples."""
        if self._inputs:
            raise ValueError("a graph has one input")
        self._inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *shape])]
        return Tensor(name, shape, mean, variance)

    def conv(
        self,
        x: Tensor,
        outputs: int,
        kernel: tuple[int, int],
        stride: int = 1,
        *,
        depthwise: bool = False,
        layer: str = "",
    ) -> Tensor:
        """(C, H, W) -> (outputs, ceil(H / stride), ceil(W / stride)); `outputs` is C for a depthwise one."""
        channels, *size = x.shape
        weight, bias = self._fresh((outputs, 1 if depthwise else channels, *kernel), x)
        inputs = self._parameters(layer, weight, bias)
        pads = (
            [(k // 2, k // 2) for k in kernel]
            if layer
            else [_same(n, k, stride) for n, k in zip(size, kernel, strict=True)]
        )
        attributes = {
            "group": channels if depthwise else 1,
            "kernel_shape": list(kernel),
            "pads": [before for before, _ in pads] + [after for _, after in pads],
            "strides": [stride, stride],
        }
        if not layer:
            attributes["dilations"] = [1, 1]
        spatial = ((n + sum(p) - k) // stride + 1 for n, p, k in zip(size, pads, kernel, strict=True))
        output = Tensor("", (outputs, *spatial), 0.0, 1.0)
        return self._node("Conv", [x.name, *inputs], output, layer, f"{layer}.conv", **attributes)

    def gemm(self, x: Tensor, outputs: int) -> Tensor:
        """(C,) -> (outputs,)."""
        inputs = self._parameters("", *self._fresh((outputs, *x.shape), x))
        return self._node("Gemm", [x.name, *inputs], Tensor("", (outputs,), 0.0, 1.0), transB=1)

    def relu(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        return self._node("Relu", [x.name], _rectified(x))

    def relu6(self, x: Tensor, layer: str) -> Tensor:
        """min(max(x, 0), 6)."""
        low, high = (self._constant(self._number("c"), np.array([bound], np.float32)) for bound in (0, 6))
        return self._node("Clip", [x.name, low, high], _rectified(x), f"{layer}.clip", f"{layer}.clip")

    def add(self, a: Tensor, b: Tensor, layer: str) -> Tensor:
        """a + b, of one shape."""
        output = Tensor("", a.shape, a.mean + b.mean, a.variance + b.variance)
        return self._node("Add", [a.name, b.name], output, layer, f"{layer}.sum")

    def global_average_pool(self, x: Tensor, layer: str = "") -> Tensor:
        """(C, H, W) -> (C, 1, 1). Its variance is at most that of its terms: taken as equal."""
        output = replace(x, shape=(x.shape[0], 1, 1))
        return self._node("GlobalAveragePool", [x.name], output, layer, f"{layer}.globalaveragepool")

    def flatten(self, x: Tensor, layer: str = "") -> Tensor:
        """(C, H, W) -> (C * H * W,)."""
        return self._node("Flatten", [x.name], replace(x, shape=(math.prod(x.shape),)), layer, layer, axis=1)

    def model(self, output: Tensor, description: str) -> onnx.ModelProto:
        """The checked graph; `output` comes from the last node and is called `logits`."""
        if self._nodes[-1].output[0] != output.name:
            raise ValueError(f"{output.name} is not the output of the last node")
        self._nodes[-1].output[0] = "logits"
        logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", *output.shape])
        graph = helper.make_graph(self._nodes, self._name, self._inputs, [logits], self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mcugrad", doc_string=description
        )
        model.ir_version = _IR_VERSION
        onnx.checker.check_model(model)
        return model

    def _fresh(self, shape: tuple[int, ...], x: Tensor) -> tuple[Floats, Floats]:
        """Weight and bias that turn x into outputs of mean 0 and variance 1."""
        weight = self._rng.standard_normal(shape).reshape(*shape[:2], -1)  # output, input, position in the window
        positions = weight.sum(axis=2)
        spread = (1 - _CORRELATION) * np.square(weight).sum(axis=(1, 2)) + _CORRELATION * np.square(positions).sum(
            axis=1
        )
        scale = 1 / np.sqrt(x.variance * spread)
        bias = -x.mean * scale * positions.sum(axis=1)
        return (weight * scale[:, None, None]).astype(np.float32).reshape(shape), bias.astype(np.float32)

    def _parameters(self, layer: str, weight: Floats, bias: Floats) -> list[str]:
        names = [self._number(letter) for letter in "wb"]
        if layer:
            names = [f"{layer}.weight", f"{layer}.bias"]
        return [self._constant(name, value) for name, value in zip(names, (weight, bias), strict=True)]

    def _constant(self, name: str, value: Floats) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _number(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count}"

    def _node(
        self, op: str, inputs: list[str], output: Tensor, layer: str = "", tensor: str = "", **attributes: Any
    ) -> Tensor:
        """Adds the node `layer` with the output `tensor`; without a layer both are the operator's name and a number."""
        number = self._number(op.lower())  # named layers count too: it goes into the names of their constants
        name, result = (layer, tensor) if layer else (number, number)
        self._nodes.append(helper.make_node(op, inputs, [result], name=name, **attributes))
        return replace(output, name=result)


def scaled(channels: int, width: float) -> int:
    """`channels * width` as a multiple of 8, never more than 10 % below it: MobileNet's rounding.

    Raises McugradError if the width is not a positive number.
    """
    wanted = channels * check_width(width)
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def check_width(width: float) -> float:
    """The width itself. Raises McugradError if it is not a positive number."""
    if not (math.isfinite(width) and width > 0):
        raise McugradError(f"width {width}: give a positive number, 1 for the published channels")
    return width


def check_count(what: str, count: int, least: int) -> int:
    """The count itself. Raises McugradError if it is less than `least`."""
    if count < least:
        raise McugradError(f"{what} {count}: give at least {least}")
    return count


def _rectified(x: Tensor) -> Tensor:
    """What is expected of max(x, 0) for a normal x of mean 0; of such, almost none exceeds 6 standard deviations."""
    return replace(x, mean=math.sqrt(x.variance) * _MEAN_OF_RELU, variance=x.variance * _VARIANCE_OF_RELU)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding before and after an axis: ceil(size / stride) outputs, the odd one behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
