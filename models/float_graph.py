"""A small float interpreter of ONNX graphs with hand-written gradients: the float32 reference of what a device learns.

`FloatGraph.load(path)` reads a graph of Conv (1-D, 2-D, grouped), Gemm, BatchNormalization (folded), Relu, Clip, Add,
MaxPool, AveragePool, GlobalAveragePool/ReduceMean, Flatten/Reshape/Identity/Dropout and a final Softmax (dropped:
training wants logits). Layouts are ONNX's: activations (n, c, [h,] w), conv weights (out, in / groups, [kh,] kw).
Everything else raises GraphError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from models.float_ops import (
    Add,
    Array,
    Clip,
    Conv,
    DepthwiseConv,
    Gemm,
    GraphError,
    Layer,
    Op,
    ParameterGradients,
    Pool,
    Reshape,
    SpatialMean,
    Wanted,
    Window,
)


@dataclass
class Node:
    """One operator with the names of its dynamic inputs and of its output; `layer` is set when it has parameters."""

    name: str
    op: Op
    inputs: list[str]
    output: str
    layer: Layer | None = None


Tape = list[Any]  # what each node's forward leaves for its backward
Gradients = dict[str, ParameterGradients]  # layer name -> (weight, bias)


class FloatGraph:
    """A graph of one input and one output, nodes in execution order; `layers`: node name -> mutable parameters."""

    def __init__(self, nodes: list[Node], input_name: str, output_name: str) -> None:
        self.nodes, self.input, self.output = nodes, input_name, output_name
        self.layers = {node.name: node.layer for node in nodes if node.layer is not None}
        if not self.layers:
            raise GraphError("the graph has no Conv or Gemm: there is nothing to train")

    @staticmethod
    def load(path: str | Path, dtype: type[np.floating[Any]] = np.float32) -> FloatGraph:
        """Read an ONNX file; parameters get `dtype` (float64 for gradient checks). Raises GraphError."""
        return _Reader(onnx.load(path).graph, dtype).read()

    @property
    def head(self) -> str:
        """Name of the classifier: the last layer with parameters."""
        return next(reversed(self.layers))

    def forward(self, x: Array) -> Array:
        """x (n, ...) -> the output (n, ...)."""
        return self.record(x)[0]

    def record(self, x: Array) -> tuple[Array, Tape]:
        """forward, and the tape that `backward` needs."""
        tensors: dict[str, Array] = {self.input: x}
        tape: Tape = []
        for node in self.nodes:
            tensors[node.output], cache = node.op.forward([tensors[name] for name in node.inputs], node.layer)
            tape.append(cache)
        return tensors[self.output], tape

    def backward(self, dy: Array, tape: Tape, wanted: Mapping[str, Wanted]) -> Gradients:
        """dLoss/d(the parameters `wanted`) from dLoss/d(output) `dy`; goes back no further than they need."""
        live = self._depends_on(wanted)
        errors: dict[str, Array] = {self.output: dy}
        gradients: Gradients = {}
        for node, cache in zip(reversed(self.nodes), reversed(tape), strict=True):
            error = errors.pop(node.output, None)
            if error is None:
                continue
            if node.layer is not None and any(wanted.get(node.name, (False, False))):
                gradients[node.name] = node.op.parameter_gradients(error, cache, node.layer, wanted[node.name])
            if any(name in live for name in node.inputs):
                for name, dx in zip(node.inputs, node.op.backward(error, cache, node.layer), strict=True):
                    if name in live:
                        errors[name] = errors[name] + dx if name in errors else dx
        return gradients

    def _depends_on(self, wanted: Mapping[str, Wanted]) -> set[str]:
        """Tensors that change when a wanted parameter does."""
        live: set[str] = set()
        for node in self.nodes:
            if any(wanted.get(node.name, (False, False))) or any(name in live for name in node.inputs):
                live.add(node.output)
        return live


class _Reader:
    """Turns an ONNX graph into a FloatGraph; one method an operator family."""

    def __init__(self, graph: onnx.GraphProto, dtype: type[np.floating[Any]]) -> None:
        self.graph, self.dtype = graph, dtype
        self.constants: dict[str, Array] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.renamed: dict[str, str] = {}  # outputs of operators that do nothing -> their input
        self.nodes: list[Node] = []
        self.builders: dict[str, Callable[[onnx.NodeProto, dict[str, Any]], None]] = {
            "AveragePool": self._pool,
            "BatchNormalization": self._batch_norm,
            "Clip": self._clip,
            "Constant": self._constant,
            "Conv": self._conv,
            "Dropout": self._nothing,
            "Flatten": self._reshape,
            "Gemm": self._gemm,
            "GlobalAveragePool": self._mean,
            "Identity": self._nothing,
            "LogSoftmax": self._final_softmax,
            "MaxPool": self._pool,
            "ReduceMean": self._mean,
            "Relu": self._relu,
            "Reshape": self._reshape,
            "Add": self._add,
            "Softmax": self._final_softmax,
        }

    def read(self) -> FloatGraph:
        inputs = [value.name for value in self.graph.input if value.name not in self.constants]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise GraphError(
                f"the graph has {len(inputs)} inputs and {len(self.graph.output)} outputs; one of each is needed"
            )
        for node in self.graph.node:
            builder = self.builders.get(node.op_type)
            if builder is None:
                raise GraphError(f"node '{node.name}': the float reference does not know {node.op_type}")
            builder(node, {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute})
        output = self.graph.output[0].name
        return FloatGraph(self.nodes, inputs[0], self.renamed.get(output, output))

    def _emit(self, node: onnx.NodeProto, op: Op, count: int = 1, layer: Layer | None = None) -> None:
        inputs = [self.renamed.get(name, name) for name in node.input[:count]]
        constant = next((name for name in inputs if name in self.constants), None)
        if constant is not None:
            raise GraphError(f"node '{node.name}': its operand '{constant}' is a constant, a computed tensor is needed")
        name = layer.name if layer else node.name or f"{node.op_type}_{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs, node.output[0], layer))

    def _parameter(self, node: onnx.NodeProto, index: int) -> Array | None:
        """A constant operand, or None where it is left out."""
        name = node.input[index] if index < len(node.input) else ""
        if not name:
            return None
        name = self.renamed.get(name, name)
        if name not in self.constants:
            raise GraphError(f"node '{node.name}': operand '{name}' is computed, a constant is needed")
        return self.constants[name]

    def _layer(self, node: onnx.NodeProto, weight: Array | None, bias: Array | None) -> Layer:
        if weight is None:
            raise GraphError(f"node '{node.name}' has no weight")
        name = node.name or f"{node.op_type}_{len(self.nodes)}"
        # Copies: training changes them, and two nodes may share one initializer.
        return Layer(name, weight.astype(self.dtype), None if bias is None else bias.astype(self.dtype).reshape(-1))

    def _constant(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if "value" not in attributes:
            raise GraphError(f"node '{node.name}': only Constant nodes with a tensor value are known")
        self.constants[node.output[0]] = numpy_helper.to_array(attributes["value"])

    def _nothing(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self.renamed[node.output[0]] = self.renamed.get(node.input[0], node.input[0])

    def _final_softmax(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if node.output[0] != self.graph.output[0].name:
            raise GraphError(f"node '{node.name}': {node.op_type} is known as the last node only")
        self._nothing(node, attributes)

    def _conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        layer = self._layer(node, self._parameter(node, 1), self._parameter(node, 2))
        window = Window.of(node.name, layer.weight.shape[2:], attributes)
        groups = int(attributes.get("group", 1))
        depthwise = layer.weight.ndim == 4 and layer.weight.shape[:2] == (groups, 1) and groups > 1
        self._emit(node, DepthwiseConv(window) if depthwise else Conv(window, groups), layer=layer)

    def _batch_norm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self.renamed.get(node.input[0], node.input[0])
        before = next((n for n in self.nodes if n.output == source), None)
        users = sum(source == name for n in self.graph.node for name in n.input)
        if before is None or before.layer is None or users != 1:
            raise GraphError(
                f"node '{node.name}': BatchNormalization is folded into the Conv before it, and there is none"
            )
        scale, shift, mean, variance = (np.asarray(self._parameter(node, i), np.float64) for i in range(1, 5))
        factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        layer = before.layer
        bias = np.zeros(len(factor)) if layer.bias is None else layer.bias
        layer.weight = (layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))).astype(self.dtype)
        layer.bias = ((bias - mean) * factor + shift).astype(self.dtype)
        self.renamed[node.output[0]] = source

    def _gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            raise GraphError(f"node '{node.name}': Gemm with transA, alpha or beta is not known")
        weight = self._parameter(node, 1)
        if weight is not None and not attributes.get("transB", 0):
            weight = weight.T
        self._emit(node, Gemm(), layer=self._layer(node, weight, self._parameter(node, 2)))

    def _relu(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._emit(node, Clip(0.0, np.inf))

    def _clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        low, high = self._parameter(node, 1), self._parameter(node, 2)
        floor = attributes.get("min", -np.inf) if low is None else low.item()  # of shape () or (1,)
        self._emit(node, Clip(floor, attributes.get("max", np.inf) if high is None else high.item()))

    def _add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._emit(node, Add(node.name), 2)

    def _pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes.get("ceil_mode", 0) or len(node.output) > 1:
            raise GraphError(f"node '{node.name}': {node.op_type} with ceil_mode or indices is not known")
        window = Window.of(node.name, attributes["kernel_shape"], attributes)
        self._emit(node, Pool(window, node.op_type == "MaxPool", bool(attributes.get("count_include_pad", 0))))

    def _mean(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        axes = attributes.get("axes")
        if axes is None and (given := self._parameter(node, 1)) is not None:
            axes = [int(axis) for axis in given]
        if node.op_type == "ReduceMean" and not axes:
            raise GraphError(f"node '{node.name}': ReduceMean over every axis mixes samples")
        self._emit(node, SpatialMean(node.name, tuple(axes) if axes else None, bool(attributes.get("keepdims", 1))))

    def _reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if node.op_type == "Flatten":
            if attributes.get("axis", 1) != 1:
                raise GraphError(f"node '{node.name}': Flatten at axis {attributes['axis']} mixes samples")
            self._emit(node, Reshape((-1,)))
            return
        shape = self._parameter(node, 1)
        if shape is None or attributes.get("allowzero", 0):
            raise GraphError(f"node '{node.name}': Reshape needs a constant shape without allowzero")
        self._emit(node, Reshape(tuple(int(size) for size in shape)[1:]))
