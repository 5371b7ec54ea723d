"""onnx's backend node tests as models that mcugrad takes: one input, weights inside, batch 1."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test.case.test_case import TestCase

Array = npt.NDArray[Any]
# onnxruntime's quantiser leaves these in float when nothing is computed before them: a layer passes their input on.
BEHIND_A_LAYER = {
    "Clip", "Dropout", "Flatten", "Identity", "LogSoftmax", "Relu", "Reshape", "Softmax", "Squeeze", "Transpose",
    "Unsqueeze",
}  # fmt: skip
# Both operands are activations: they come stacked along the channels, and two layers take them apart.
TWO_ACTIVATIONS = {"Add", "Concat"}
# Operators for which a leading axis makes no difference.
ELEMENTWISE = {
    "Add", "Clip", "Div", "Dropout", "Identity", "LeakyRelu", "Max", "Min", "Mul", "QuantizeLinear", "Relu", "Sub",
    "DequantizeLinear",
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A model (batch 1, float input x) with samples x (n, *input) and the test's own outputs (n, *output).

    `quantised` says that the model has its scales already.
    """

    name: str
    model: onnx.ModelProto
    x: Array
    expected: Array
    quantised: bool = False


def node_tests() -> dict[str, TestCase]:
    """Every test of a single node, by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        np.random.seed(0)  # the tests draw their data when they are loaded
        cases = load_model_tests(kind="node")
    return {c.name: c for c in cases if c.model is not None and len(c.model.graph.node) == 1}


def operator_of(case: TestCase) -> str:
    """The operator under test, with its domain if it is not ONNX's."""
    assert case.model is not None
    node = case.model.graph.node[0]
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def pieces(case: TestCase) -> Iterator[Piece]:
    """The models of one test: one, or one a sample where a constant differs from sample to sample."""
    builder = _Builder(case)
    if builder.node.op_type in ("QLinearConv", "QLinearMatMul"):
        yield from builder.quantised_layer()
    elif builder.node.op_type == "QuantizeLinear":
        yield builder.quantize()
    elif builder.node.op_type == "DequantizeLinear":
        yield builder.dequantize()
    elif builder.x.dtype in (np.int8, np.uint8):
        yield builder.integers()
    else:
        yield from builder.floats()


class _Builder:
    def __init__(self, case: TestCase) -> None:
        assert case.model is not None
        assert case.data_sets is not None
        graph = case.model.graph
        self.name, self.node, self.opsets = case.name.removeprefix("test_"), graph.node[0], _opsets(case.model)
        inputs, outputs = case.data_sets[0]
        self.arrays = {i.name: _array(a) for i, a in zip(graph.input, inputs, strict=True)}
        self.x, self.y = self.arrays[self.node.input[0]], _array(outputs[0])
        if self.node.op_type in ELEMENTWISE and self.x.ndim < 2:
            self.x, self.y = self.x[None], self.y[None]

    # ---- float -------------------------------------------------------------------------------------------------------

    def floats(self) -> Iterator[Piece]:
        if self.node.op_type in TWO_ACTIVATIONS and self.arrays[self.node.input[1]].shape == self.x.shape:
            yield self._two_activations()
            return
        constants = {n: self.arrays[n] for n in self.node.input[1:] if n}
        if self.node.op_type == "Reshape":
            constants = {n: self._sample_shape(c) for n, c in constants.items()}
        samples = len(self.x)
        varying = {n for n, c in constants.items() if self._varies(c)}
        groups = [slice(i, i + 1) for i in range(samples)] if varying else [slice(0, samples)]
        for number, rows in enumerate(groups):
            mine = {n: c[rows] if n in varying else c for n, c in constants.items()}
            name = f"{self.name}_{number}" if varying else self.name
            yield Piece(name, self._float_model(mine), self.x[rows], self.y[rows])

    def _varies(self, constant: Array) -> bool:
        """Whether each sample has its own part of a constant."""
        if self.node.op_type not in ("Add", "Div", "Gemm", "MatMul", "Max", "Min", "Mul", "Sub"):
            return False
        weight = self.node.op_type == "Gemm" and constant is self.arrays[self.node.input[1]]
        return not weight and constant.ndim == self.y.ndim > 1 and len(constant) == len(self.x) > 1

    def _sample_shape(self, shape: Array) -> Array:
        """The target of a Reshape, for one sample."""
        return np.array([1 if shape[0] == len(self.x) else shape[0], *shape[1:]], np.int64)

    def _float_model(self, constants: dict[str, Array]) -> onnx.ModelProto:
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        node.name = node.op_type.lower()
        source, nodes = "x", []
        if node.op_type in BEHIND_A_LAYER:
            source = "passed"
            nodes.append(_selection("pass", "x", source, self.x.ndim, constants, np.eye(self.x.shape[1])))
        node.input[0] = source
        kind = helper.np_dtype_to_tensor_dtype(self.x.dtype)
        return self._model([*nodes, node], constants, self.x.shape[1:], node.output[0], kind)

    def _two_activations(self) -> Piece:
        other = self.arrays[self.node.input[1]].reshape(self.x.shape)
        channels = self.x.shape[1]
        constants: dict[str, Array] = {}
        unit = np.eye(2 * channels)
        nodes = [
            _selection("first", "x", "a", self.x.ndim, constants, unit[:channels]),
            _selection("second", "x", "b", self.x.ndim, constants, unit[channels:]),
        ]
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        node.name, node.input[0], node.input[1] = node.op_type.lower(), "a", "b"
        x = np.concatenate([self.x, other], axis=1)
        kind = helper.np_dtype_to_tensor_dtype(x.dtype)
        model = self._model([*nodes, node], constants, x.shape[1:], node.output[0], kind)
        return Piece(self.name, model, x, self.y)

    def _model(
        self,
        nodes: Sequence[onnx.NodeProto],
        constants: dict[str, Array],
        shape: Sequence[int],
        out: str,
        kind: int = onnx.TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", kind, [1, *shape])
        y = helper.make_tensor_value_info(out, kind, [1, *self.y.shape[1:]])
        tensors = [numpy_helper.from_array(np.asarray(a, order="C"), n) for n, a in constants.items()]
        model = helper.make_model(helper.make_graph(nodes, "node", [x], [y], tensors), opset_imports=self.opsets)
        model.ir_version = 10
        return model

    # ---- quantised ---------------------------------------------------------------------------------------------------

    def _grid(self, at: int) -> tuple[Array, Array]:
        """Scale and zero point at inputs `at` and at + 1."""
        names = self.node.input
        scale = self.arrays[names[at]]
        kind = (self.x if self.node.op_type == "DequantizeLinear" else self.y).dtype
        return scale, self.arrays[names[at + 1]] if len(names) > at + 1 else np.zeros(scale.shape, kind)

    def _there_and_back(self, scale: Array, zero: Array) -> onnx.ModelProto:
        """QuantizeLinear and its inverse, with the axis of the node under test."""
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantize"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], name="dequantize"),
        ]
        for node in nodes:
            node.attribute.extend(a for a in self.node.attribute if a.name in ("axis", "block_size"))
        return self._model(nodes, {"scale": scale, "zero": zero}, self.x.shape[1:], "y")

    def quantize(self) -> Piece:
        """Followed by the inverse, since outputs are float."""
        scale, zero = self._grid(1)
        real = (self.y.astype(np.float64) - zero) * scale if zero.size == 1 else self.y
        return Piece(self.name, self._there_and_back(scale, zero), self.x, np.asarray(real), quantised=True)

    def dequantize(self) -> Piece:
        """The same integers, reached from their real values: models take float samples."""
        scale, zero = self._grid(1)
        real = self.y.astype(np.float32)
        return Piece(self.name, self._there_and_back(scale, zero), real, real, quantised=True)

    def integers(self) -> Piece:
        """An operator of ONNX on 8-bit integers: on the grid of scale 1, zero point 0."""
        constants = {"scale": np.float32(1), "zero": np.zeros((), self.x.dtype)}
        constants |= {n: self.arrays[n] for n in self.node.input[1:] if n}
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        node.name, node.input[0] = node.op_type.lower(), "q"
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantize"),
            node,
            helper.make_node("DequantizeLinear", [node.output[0], "scale", "zero"], ["real"], name="dequantize"),
        ]
        model = self._model(nodes, constants, self.x.shape[1:], "real")
        return Piece(self.name, model, self.x.astype(np.float32), self.y.astype(np.float32), quantised=True)

    def quantised_layer(self) -> Iterator[Piece]:
        """x's real values, QuantizeLinear, the node as it is, DequantizeLinear.

        float16 scales become the float32 numbers that they are.
        """
        (xs, xz), (_, _), (ys, yz) = grids = self._grid(1), self._grid(4), self._grid(6)
        x = ((self.x.astype(np.float64) - xz) * xs).astype(np.float32)
        weights, expected = self.arrays[self.node.input[3]], (self.y.astype(np.float64) - yz) * ys
        flat = [v for grid in grids for v in grid]
        if self.node.op_type == "QLinearMatMul" and weights.ndim == 3:
            for i in range(len(x)):
                model = self._layer(weights[i], flat, x.shape[1:])
                yield Piece(f"{self.name}_{i}", model, x[i : i + 1], expected[i : i + 1], quantised=True)
        else:
            yield Piece(self.name, self._layer(weights, flat, x.shape[1:]), x, expected, quantised=True)

    def _layer(self, weights: Array, grids: Sequence[Any], shape: Sequence[int]) -> onnx.ModelProto:
        """QuantizeLinear, the node, DequantizeLinear with these (scale, zero point) of x, weights and output."""
        constants = {"w": weights}
        for name, (scale, zero) in zip("xwy", zip(grids[::2], grids[1::2], strict=True), strict=True):
            constants[f"{name}_scale"] = np.asarray(scale, np.float32).reshape(())
            constants[f"{name}_zero"] = np.asarray(zero).reshape(())
        inputs = ["q", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"]
        layer = helper.make_node(self.node.op_type, inputs, ["y_q"], name=self.node.op_type.lower())
        layer.attribute.extend(self.node.attribute)
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["q"], name="quantize"),
            layer,
            helper.make_node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["y"], name="dequantize"),
        ]
        return self._model(nodes, constants, shape, "y")


def _opsets(model: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """At least 11, which is the oldest that is accepted, where the operator has not changed since."""
    version, op = model.opset_import[0].version, model.graph.node[0].op_type
    if version < 11 and onnx.defs.get_schema(op, 11).since_version <= version:
        version = 11
    return [helper.make_opsetid("", version)]


def _array(value: Any) -> Array:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _selection(name: str, x: str, out: str, rank: int, constants: dict[str, Array], rows: Array) -> onnx.NodeProto:
    """A layer whose output channels are those of its input that `rows` of a unit matrix name."""
    if rank == 2:
        constants[f"{name}_weight"] = rows.astype(np.float32)
        return helper.make_node("Gemm", [x, f"{name}_weight"], [out], name=name, transB=1)
    constants[f"{name}_weight"] = rows.astype(np.float32).reshape(*rows.shape, *[1] * (rank - 2))
    return helper.make_node("Conv", [x, f"{name}_weight"], [out], name=name)
