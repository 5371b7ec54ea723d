"""Annotations become QuantizeLinear and DequantizeLinear nodes again, in one canonical arrangement."""

from __future__ import annotations

import math

import numpy as np

from mcugrad.frontend.annotate import check_weight
from mcugrad.frontend.graph import Array, Graph, Node, QuantParams, Stored, fail

_TAIL = ("Reshape", "Transpose", "Softmax", "LogSoftmax")
_INT32 = np.iinfo(np.int32)


def quantized_value(value: float, params: QuantParams) -> float:
    """What QuantizeLinear makes of `value` before it saturates."""
    if not math.isfinite(value):
        return value
    return float(np.rint(np.float32(value) / np.float32(params.scale))) + params.zero_point


def fold_clips(graph: Graph) -> None:
    """Removes each Clip that the int8 range does anyway; the quantiser's saturation is then the activation function."""
    for node in [n for n in graph.nodes if n.op == "Clip" and n.output in graph.quant]:
        params, x = graph.quant[node.output], node.inputs[0]
        low, high = quantized_value(node.attrs["min"], params), quantized_value(node.attrs["max"], params)
        if low > -128 or high < 127:
            continue
        if x in graph.quant and graph.quant[x] != params:
            node.op, node.attrs = "Requantize", {}
        elif x in graph.quant or (x not in graph.inputs and graph.only_consumer(x) is node):
            graph.quant[x] = params
            graph.drop(node)


def leave_input_layout_in_float(graph: Graph) -> None:
    """Reshape and Transpose directly behind the graph's input act on it before it is quantised."""
    for name in graph.inputs:
        node = graph.only_consumer(name)
        while node is not None and node.op in ("Reshape", "Transpose"):
            graph.quant.pop(node.inputs[0], None)
            node = graph.only_consumer(node.output)


def emit_qdq(graph: Graph) -> None:
    """Writes all Q and DQ nodes in place. Raises McugradError where an int8 kernel would meet a float tensor."""
    if not graph.quant:
        return
    tail = _tail(graph)
    for node in list(graph.nodes):
        _check(graph, node, tail)
        if node.op in ("Conv", "Gemm"):
            _weights(graph, node)
    requantized = {node.output: node.inputs[0] for node in graph.nodes if node.op == "Requantize"}
    graph.nodes = [node for node in graph.nodes if node.op != "Requantize"]
    reals: dict[str, str] = {}
    for name in [n for n in graph.shapes if n in graph.quant]:
        reals[name] = _pair(graph, name, requantized)
    for node in graph.nodes:
        if node.op == "QuantizeLinear" and node.attrs.pop("_source", None) is not None:
            node.inputs[0] = reals.get(requantized.get(node.inputs[0], ""), node.inputs[0])
            continue
        node.inputs = [reals.get(name, name) for name in node.inputs]
    graph.tidy()


def _tail(graph: Graph) -> set[str]:
    """Tensors from which only layout and Softmax lead to the output: they may stay float."""
    found = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.op in _TAIL and node.output in found and graph.only_consumer(node.inputs[0]) in (node, None):
            found.add(node.inputs[0])
    return found


def _check(graph: Graph, node: Node, tail: set[str]) -> None:
    advice = "quantise the float model with mcugrad quantize, which covers every operator"
    float_inputs = [n for n in node.inputs if n not in graph.quant and n not in graph.consts]
    leading = node.op in ("Reshape", "Transpose") and node.inputs[0] in _leading(graph)
    fused = node.op == "Clip" and node.output in graph.quant
    if float_inputs and not (leading or fused or (node.op in _TAIL and node.output in tail)):
        raise fail(node, f"its input '{float_inputs[0]}' is not quantised", advice)
    if node.op in ("Softmax", "LogSoftmax") or node.output in graph.quant or node.output in tail or leading:
        return
    user = graph.only_consumer(node.output)
    if user is None or user.op != "Clip" or user.output not in graph.quant:
        raise fail(node, f"its output '{node.output}' is not quantised", advice)


def _leading(graph: Graph) -> set[str]:
    found = {name for name in graph.inputs if name not in graph.quant}
    for node in graph.nodes:
        if node.op in ("Reshape", "Transpose") and node.inputs[0] in found and node.output not in graph.quant:
            found.add(node.output)
    return found


def _pair(graph: Graph, name: str, requantized: dict[str, str]) -> str:
    """Q and DQ of one tensor; returns the name of the dequantised one. A graph output keeps its name."""
    params, real = graph.quant[name], f"{name}_dq"
    source = name
    if name in graph.outputs:
        real = name
        source = graph.new_name(f"{name}_float")
        graph.shapes[source], graph.dtypes[source] = graph.shapes[name], 1
        for node in graph.nodes:
            node.outputs = [source if out == name else out for out in node.outputs]
        if name in requantized:
            requantized[source] = requantized.pop(name)
    scale = graph.add_const(f"{name}_scale", np.array(params.scale, np.float32))
    zero = graph.add_const(f"{name}_zero_point", np.array(params.zero_point, np.int8))
    q = graph.new_name(f"{name}_q")
    graph.shapes[q], graph.dtypes[q] = graph.shapes[name], 3
    if real != name:
        real = graph.new_name(real)
        graph.shapes[real], graph.dtypes[real] = graph.shapes[name], 1
    at = next((i + 1 for i, node in enumerate(graph.nodes) if source in node.outputs), 0)
    graph.nodes[at:at] = [
        Node("QuantizeLinear", graph.new_name(f"{name}/quantize"), [source, scale, zero], [q], {"_source": source}),
        Node("DequantizeLinear", graph.new_name(f"{name}/dequantize"), [q, scale, zero], [real]),
    ]
    return real


def _weights(graph: Graph, node: Node) -> None:
    name, x = node.inputs[1], node.inputs[0]
    if name not in graph.stored:
        if not node.attrs.get("_affine"):
            _check_head(graph, node)
            return
        graph.stored[name] = _symmetric(graph.consts[name])
    check_weight(graph, node)
    stored = graph.stored[name]
    scale, zero = (v.reshape(v.shape[0], -1)[:, 0] for v in (stored.scale, stored.zero))
    scale = np.ascontiguousarray(scale, np.float32)
    node.inputs[1] = _dequantized(graph, name, stored.q, scale, zero)
    if node.input(2):
        units = np.float32(graph.quant[x].scale) * scale
        counts = _bias(graph, node.inputs[2], units)
        node.inputs[2] = _dequantized(graph, node.inputs[2], counts, units, np.zeros(units.shape))


def _check_head(graph: Graph, node: Node) -> None:
    if node.op != "Gemm" or node.output in graph.quant or graph.only_consumer(node.output) not in (None,):
        user = graph.only_consumer(node.output)
        if node.op != "Gemm" or node.output in graph.quant or (user is not None and user.op not in _TAIL):
            raise fail(node, "its weights are not quantised", "quantise the float model with mcugrad quantize")
    graph.stored.pop(node.input(2), None)


def _symmetric(weight: Array) -> Stored:
    """Per-channel symmetric int8 of a weight that the frontend made itself."""
    peak = np.abs(weight.reshape(weight.shape[0], -1)).max(axis=1)
    scale = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype(np.float32)
    full = np.broadcast_to(scale.reshape((-1,) + (1,) * (weight.ndim - 1)), weight.shape)
    q = np.clip(np.rint(weight / full), -127, 127).astype(np.int8)
    return Stored(q, full, np.zeros(weight.shape, np.int64))


def _bias(graph: Graph, name: str, units: Array) -> Array:
    """The bias as int32 in `units` (x_scale * w_scale a channel): its own integers if they already count so."""
    stored = graph.stored.get(name)
    plain = stored is not None and stored.q.dtype == np.int32 and not stored.zero.any()
    if stored is not None and plain and np.allclose(stored.scale, units, rtol=1e-5, atol=0):
        return stored.q
    counts = np.rint(graph.consts[name].astype(np.float64) / units.astype(np.float64))
    return np.asarray(np.clip(counts, _INT32.min, _INT32.max).astype(np.int32))


def _dequantized(graph: Graph, name: str, q: Array, scale: Array, zero: Array) -> str:
    """Constants q, scale, zero point (one of each a channel) and their DQ node; returns the real tensor."""
    names = [
        graph.add_const(f"{name}_int{8 * q.dtype.itemsize}", q),
        graph.add_const(f"{name}_scale", scale),
        graph.add_const(f"{name}_zero_point", zero.astype(q.dtype)),
    ]
    real = graph.new_name(f"{name}_dq")
    graph.shapes[real], graph.dtypes[real] = tuple(q.shape), 1
    dequantize = Node("DequantizeLinear", graph.new_name(f"{name}/dequantize"), names, [real], {"axis": 0})
    graph.nodes.insert(0, dequantize)
    return real
