"""Relu, Clip, LeakyRelu, Add, and the softmax that may end a graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from tvm import relax

from mcugrad import ops
from mcugrad.errors import McugradError
from mcugrad.frontend.importer.grids import pending_sample
from mcugrad.frontend.importer.values import Logits, Pending, Sample, Value
from mcugrad.frontend.importer.walk import Handler, Walk, has_input, ratio
from mcugrad.graph import Grid
from mcugrad.ops.operator import shape

TAILS = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}


def relu(walk: Walk, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
    return _clip(walk, node, 0.0, np.inf)


def clip(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """Limits are attributes up to opset 10, constant inputs since."""
    limits = [float(walk.array(node, i).data.reshape(())) if has_input(node, i) else None for i in (1, 2)]
    low = attrs.get("min", -np.inf) if limits[0] is None else limits[0]
    return _clip(walk, node, low, attrs.get("max", np.inf) if limits[1] is None else limits[1])


def _clip(walk: Walk, node: onnx.NodeProto, low: float, high: float) -> Value:
    """Narrows what is pending; an int8 operand is requantised."""
    value = walk.values[node.input[0]]
    if isinstance(value, Sample) and sum(node.input[0] in n.input for n in walk.graph.node) == 1:
        value = pending_sample(walk, node, value)
    if not isinstance(value, Pending):
        value = Pending(walk.requantize(walk.activation(node), node.name), node.name)
    return replace(value, low=min(max(value.low, low), high), high=max(min(value.high, high), low))


def leaky_relu(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    alpha = float(np.float32(attrs.get("alpha", 0.01)))
    return Pending(walk.requantize(walk.activation(node), node.name, alpha), node.name)


def add(walk: Walk, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
    """Two activations of one shape, or an activation and a constant."""
    a, b = (walk.operand(node, i) for i in (0, 1))
    if shape(a.var) != shape(b.var):
        raise McugradError(
            f"node '{node.name}' (Add): shapes {shape(a.var)} and {shape(b.var)} differ: only equal shapes or a "
            "constant can be added"
        )

    def emit(grid: Grid, low: int, high: int) -> relax.Var:
        scales = {"a_scale": ratio(a.grid, grid), "b_scale": ratio(b.grid, grid)}
        zeros = {"a_zero": a.grid.zero_point, "b_zero": b.grid.zero_point, "y_zero": grid.zero_point}
        out = {"y_min": low, "y_max": high, "y_scale": grid.scale}
        return walk.emit(ops.add(a.var, b.var, layer=node.name, **scales, **zeros, **out))

    return Pending(emit, node.name)


def softmax(walk: Walk, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
    """The graph's tail: prediction applies it to the logits, training does not need it."""
    if walk.graph.output[0].name != node.output[0] and not _only_quantized(walk.graph, node):
        raise McugradError(f"node '{node.name}' ({node.op_type}): only the last operator of a graph may be a softmax")
    walk.tail = TAILS[node.op_type]
    value = walk.values[node.input[0]]
    if isinstance(value, Logits):
        return value
    x = walk.activation(node)
    grid = x.grid
    return Logits(walk.emit(ops.dequantize(x.var, x_scale=grid.scale, x_zero=grid.zero_point, layer=node.name)))


def _only_quantized(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether nothing but QuantizeLinear and DequantizeLinear lies between `node` and the graph's output."""
    name = node.output[0]
    while name != graph.output[0].name:
        users = [n for n in graph.node if name in n.input]
        if len(users) != 1 or users[0].op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return False
        name = users[0].output[0]
    return True


HANDLERS: dict[str, Handler] = {
    "Relu": relu,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "Add": add,
    "Softmax": softmax,
    "LogSoftmax": softmax,
}
