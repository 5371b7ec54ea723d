"""QuantizeLinear and DequantizeLinear nodes become annotations (Graph.quant, Graph.stored), so that the float passes
apply to quantised graphs too. uint8 becomes int8 here: zero point - 128, the same real values."""

from __future__ import annotations

import numpy as np

from mcugrad.errors import McugradError
from mcugrad.frontend.graph import Array, Graph, Node, QuantParams, Stored, fail

_FORWARD = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Relu", "Clip", "Max", "Min", "Pad")
_LAYOUT = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")


def strip_qdq(graph: Graph) -> None:
    """Removes every Q and DQ node in place. Raises McugradError for types and shapes that int8 kernels cannot have."""
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    for node in list(graph.nodes):
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            _check(graph, node)
            (_constant if node.inputs[0] in graph.consts else _activation)(graph, node)
    for name in [*inputs, *outputs, *graph.shapes]:
        if name not in graph.consts:
            graph.dtypes[name] = 1
    _spread(graph)
    graph.tidy()


def _check(graph: Graph, node: Node) -> None:
    scale = graph.consts[node.inputs[1]]
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise fail(node, "its scale is not a positive number", "quantise the float model again")
    if node.attrs.get("block_size", 0):
        raise fail(node, "blocked quantisation", "quantise per tensor or per channel")
    kind = _type(graph, node)
    if kind not in ("int8", "uint8", "int32"):
        raise fail(node, f"values of type {kind}", "quantise to 8 bits")
    if node.op == "DequantizeLinear" and node.inputs[0] in graph.consts:
        return
    if kind == "int32" or scale.size != 1:
        found = "int32 values" if kind == "int32" else "one scale for each channel"
        raise fail(node, f"an activation with {found}", "quantise activations to 8 bits, one scale for each tensor")


def _type(graph: Graph, node: Node) -> str:
    """The integer type of a Q or DQ node."""
    if node.op == "DequantizeLinear" and node.inputs[0] in graph.consts:
        return str(graph.consts[node.inputs[0]].dtype)
    if node.input(2):
        return str(graph.consts[node.input(2)].dtype)
    return "uint8"


def _zero(graph: Graph, node: Node) -> Array:
    if node.input(2):
        return graph.consts[node.input(2)].astype(np.int64)
    return np.zeros_like(graph.consts[node.inputs[1]], np.int64)


def _along(value: Array, axis: int, rank: int) -> Array:
    return value.reshape(()) if value.size == 1 else value.reshape((-1,) + (1,) * (rank - axis - 1))


def _constant(graph: Graph, node: Node) -> None:
    """Q rounds a constant, DQ makes it real again and remembers the integers."""
    name, out = node.inputs[0], node.output
    value = graph.consts[name]
    axis = node.attrs.get("axis", 1) % max(1, value.ndim)
    raw = graph.consts[node.inputs[1]].astype(np.float32)
    for count, what in ((raw.size, "scales"), (_zero(graph, node).size, "zero points")):
        if count not in (1, value.shape[axis] if value.ndim else 1):
            raise fail(node, f"{count} {what} for shape {value.shape}", "quantise the float model again")
    scale, zero = _along(raw, axis, value.ndim), _along(_zero(graph, node), axis, value.ndim)
    graph.nodes.remove(node)
    if node.op == "QuantizeLinear":
        low, high = (-128, 127) if _type(graph, node) == "int8" else (0, 255)
        made = np.clip(np.rint(value.astype(np.float32) / scale) + zero, low, high)
        graph.consts[out] = made.astype(_type(graph, node))
        return
    if value.dtype == np.uint8:
        q, zero = (value.astype(np.int64) - 128).astype(np.int8), zero - 128
    else:
        q = value
    # The integers' own name is the one that people know; the dequantised copy's is not.
    base = name.removesuffix("_quantized").removesuffix("_int8").removesuffix("_int32")
    const = base if base == out or not graph.has_name(base) else graph.new_name(f"{base}_real")
    real = ((q.astype(np.int64) - zero) * scale.astype(np.float64)).astype(np.float32)
    graph.consts[const], graph.shapes[const], graph.dtypes[const] = real, real.shape, 1
    shape = real.shape
    graph.stored[const] = Stored(q, np.broadcast_to(scale, shape), np.broadcast_to(zero, shape))
    if const != out:
        graph.alias(out, const)


def _activation(graph: Graph, node: Node) -> None:
    scale, zero = float(graph.consts[node.inputs[1]].reshape(-1)[0]), int(_zero(graph, node).reshape(-1)[0])
    params = QuantParams(scale, zero - 128 if _type(graph, node) == "uint8" else zero)
    source, out = node.inputs[0], node.output
    known = graph.quant.get(source)
    if node.op == "DequantizeLinear":
        if known is None:  # an integer layout operator or an integer graph input lies in between
            graph.quant[source] = params
        elif known != params:
            raise fail(node, "it dequantises with other parameters than it was quantised with", "quantise again")
    elif known is not None and known != params:
        node.op, node.inputs, node.attrs = "Requantize", [source], {}
        base = out.removesuffix("_q")
        graph.quant[out], graph.dtypes[out] = params, 1
        if base != out and not graph.has_name(base) and out in graph.shapes:
            graph.rename(out, base)
        return
    graph.quant[source] = params
    graph.nodes.remove(node)
    graph.alias(out, source)


def _spread(graph: Graph) -> None:
    """Operators that only move or select values have one set of parameters before and behind them."""
    for node in reversed(graph.nodes):
        x = node.inputs[0]
        if node.op not in _LAYOUT or node.output not in graph.quant or x in graph.quant or x in graph.inputs:
            continue
        if graph.only_consumer(x) is node:
            graph.quant[x] = graph.quant[node.output]
    for node in list(graph.nodes):
        known = [graph.quant[name] for name in node.inputs if name in graph.quant]
        if node.op not in _FORWARD or len(known) != 1:
            continue
        before, after = known[0], graph.quant.get(node.output)
        if after is None:
            graph.quant[node.output] = before
        elif (
            after != before and node.op not in ("Relu", "Clip", "Max", "Min") and not _fills_beyond(graph, node, before)
        ):
            inner = graph.add_tensor(f"{node.output}/same", graph.shapes[node.output], before)
            last = Node("Requantize", graph.new_name(f"{node.name}/requantize"), [inner], [node.output])
            node.outputs[0] = inner
            graph.replace(node, [node, last])


def _fills_beyond(graph: Graph, node: Node, grid: QuantParams) -> bool:
    """Whether a Pad fills with a value that its operand's grid does not reach, as a negative one behind a Relu."""
    if node.op != "Pad" or not node.input(2):
        return False
    steps = float(graph.consts[node.inputs[2]].reshape(-1)[0]) / grid.scale + grid.zero_point
    return not -128.5 <= steps <= 127.5


def check_weight(graph: Graph, node: Node) -> None:
    """Raises McugradError unless the stored weight of a Conv or Gemm is int8, one scale and zero point a channel."""
    stored = graph.stored[node.inputs[1]]
    if stored.q.dtype != np.int8:
        raise McugradError(f"node '{node.name}' ({node.op}): {stored.q.dtype} weights; quantise weights to int8")
    for values, what in ((stored.scale, "scales"), (stored.zero, "zero points")):
        flat = values.reshape(values.shape[0], -1)
        if (flat != flat[:, :1]).any():
            raise fail(node, f"its weight {what} vary along an input axis", "quantise per tensor or per output channel")
