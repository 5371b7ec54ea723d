"""Every accepted operator, in whichever opset's form, becomes one of a few internal forms with explicit attributes.

Internal forms (finish.py turns them into ONNX again): Conv, Gemm (1, in) x (out, in), Clip {min, max} (Relu is
Clip(0, inf)), LeakyRelu, Add of two activations, Affine {axis, a, b} for every per-channel constant, Concat, MaxPool,
AveragePool, GlobalAveragePool, Reshape (its output's shape is the target), Transpose, Pad {pads, value}, Softmax,
LogSoftmax, Requantize.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mcugrad.frontend.gemm import canonical_gemm, canonical_matmul
from mcugrad.frontend.graph import Array, Graph, Node, fail
from mcugrad.frontend.window import canonical_average_pool, canonical_conv, canonical_max_pool, global_max_pool


def to_dialect(graph: Graph) -> None:
    """Rewrites all nodes in place. Raises McugradError."""
    for node in list(graph.nodes):
        _RULES[node.op](graph, node)
    graph.tidy()


def _keep(graph: Graph, node: Node) -> None:
    node.attrs = {}


def _relu(graph: Graph, node: Node) -> None:
    node.op, node.attrs = "Clip", {"min": 0.0, "max": math.inf}


def _leaky_relu(graph: Graph, node: Node) -> None:
    node.attrs = {"alpha": float(node.attrs.get("alpha", 0.01))}


def _limit(graph: Graph, node: Node, name: str, default: float) -> float:
    if not name:
        return default
    value = float(graph.consts[name].reshape(-1)[0])
    if math.isnan(value):
        raise fail(node, "its limit is not a number", "give Clip finite limits")
    # Exporters write "no limit" as the largest float.
    return default if abs(value) >= float(np.finfo(np.float32).max) and (value > 0) == (default > 0) else value


def _clip(graph: Graph, node: Node) -> None:
    low = _limit(graph, node, node.input(1), -math.inf)
    high = _limit(graph, node, node.input(2), math.inf)
    # ONNX: the upper limit wins where the lower one is above it.
    node.inputs, node.attrs = node.inputs[:1], {"min": min(low, high), "max": high}


def _min_max(graph: Graph, node: Node) -> None:
    if node.inputs[0] in graph.consts:
        node.inputs.reverse()
    if graph.consts[node.inputs[1]].size != 1:
        raise fail(node, "its constant is not a single number", "use Clip with one limit")
    limit = float(graph.consts[node.inputs[1]].reshape(-1)[0])
    attrs = {"min": limit, "max": math.inf} if node.op == "Max" else {"min": -math.inf, "max": limit}
    node.op, node.inputs, node.attrs = "Clip", node.inputs[:1], attrs


def _reshape(graph: Graph, node: Node) -> None:
    node.op, node.inputs, node.attrs = "Reshape", node.inputs[:1], {}


def _transpose(graph: Graph, node: Node) -> None:
    rank = len(graph.shapes[node.inputs[0]])
    node.attrs = {"perm": [int(p) for p in node.attrs.get("perm", range(rank - 1, -1, -1))]}


def _concat(graph: Graph, node: Node) -> None:
    if len(node.inputs) == 1:
        graph.drop(node)
    else:
        node.attrs = {"axis": node.attrs["axis"] % len(graph.shapes[node.output])}


def _pad(graph: Graph, node: Node) -> None:
    rank = len(graph.shapes[node.inputs[0]])
    amounts = [int(v) for v in graph.consts[node.inputs[1]].reshape(-1)]
    value = float(graph.consts[node.input(2)].reshape(-1)[0]) if node.input(2) else 0.0
    axes = [int(v) % rank for v in graph.consts[node.input(3)].reshape(-1)] if node.input(3) else list(range(rank))
    pads = [0] * (2 * rank)
    for at, axis in enumerate(axes):
        pads[axis], pads[rank + axis] = amounts[at], amounts[len(axes) + at]
    if pads[0] or pads[rank]:
        raise fail(node, "it pads the batch", "pad other dimensions only")
    if not math.isfinite(value):
        raise fail(node, f"it pads with {value}", "pad with a finite number")
    node.inputs, node.attrs = node.inputs[:1], {"pads": pads, "value": value}


def _reduce_mean(graph: Graph, node: Node) -> None:
    """A mean over the trailing axes is a GlobalAveragePool; others are transposed there, or pooled if spatial."""
    shape = graph.shapes[node.inputs[0]]
    rank = len(shape)
    given = graph.consts[node.input(1)].reshape(-1).tolist() if node.input(1) else node.attrs.get("axes") or []
    if not given and node.attrs.get("noop_with_empty_axes", 0):
        graph.drop(node)
        return
    axes = sorted({int(a) % rank for a in given}) or list(range(rank))
    if 0 in axes and not (rank == 1 or (shape[0] == 1 and given)):
        raise fail(node, "it averages over the batch", "average over other dimensions only")
    axes = [a for a in axes if a > 0 and shape[a] > 1] or [a for a in axes if a > 0] or [rank - 1]
    kept = [a for a in range(1, rank) if a not in axes]
    new, x, quant = [], node.inputs[0], graph.quant.get(node.inputs[0])
    if rank in (3, 4) and min(axes) >= 2 and all(shape[a] == 1 for a in kept if a >= 2):
        op, attrs = "GlobalAveragePool", {}
        out_shape = (*shape[:2], *(1 for _ in shape[2:]))
    elif rank in (3, 4) and min(axes) >= 2:
        kernel = [shape[a] if a in axes else 1 for a in range(2, rank)]
        op, attrs = "AveragePool", _window(kernel)
        out_shape = tuple(1 if a in axes else n for a, n in enumerate(shape))
    else:
        op, attrs = "GlobalAveragePool", {}
        perm = [0, *kept, *axes] if rank > 1 else [0]
        moved = graph.add_tensor(f"{node.output}/moved", tuple(shape[p] for p in perm), quant)
        new.append(Node("Transpose", graph.new_name(f"{node.name}/transpose"), [x], [moved], {"perm": perm}))
        outer = math.prod(shape[a] for a in kept)
        x = graph.add_tensor(f"{node.output}/flat", (1, outer, math.prod(shape) // outer), quant)
        new.append(Node("Reshape", graph.new_name(f"{node.name}/flatten"), [moved], [x]))
        out_shape = (1, outer, 1)
    mean = graph.add_tensor(f"{node.output}/mean", out_shape, graph.quant.get(node.output))
    new.append(Node(op, node.name, [x], [mean], attrs))
    new.append(Node("Reshape", graph.new_name(f"{node.name}/reshape"), [mean], [node.output]))
    graph.replace(node, new)


def _window(kernel: list[int]) -> dict[str, object]:
    ones = [1] * len(kernel)
    return {"kernel_shape": kernel, "strides": ones, "pads": [0] * (2 * len(kernel)), "count_include_pad": 0}


def _softmax(graph: Graph, node: Node) -> None:
    """Over the last axis; an older or inner axis is reshaped there where that is only a matter of ones."""
    shape = graph.shapes[node.inputs[0]]
    rank = len(shape)
    axis = node.attrs.get("axis", -1 if graph.opset >= 13 else 1) % rank
    node.attrs = {"axis": -1}
    if axis == rank - 1:
        return
    if graph.opset >= 13 and math.prod(shape[axis + 1 :]) != 1:
        raise fail(node, f"it normalises axis {axis} of {rank}", "apply it to the last dimension")
    flat_shape = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    flat, done = graph.add_tensor(f"{node.output}/flat", flat_shape), graph.add_tensor(f"{node.output}/2d", flat_shape)
    before = Node("Reshape", graph.new_name(f"{node.name}/flatten"), [node.inputs[0]], [flat])
    after = Node("Reshape", graph.new_name(f"{node.name}/reshape"), [done], [node.output])
    node.inputs, node.outputs = [flat], [done]
    graph.replace(node, [before, node, after])


def _add(graph: Graph, node: Node) -> None:
    if any(name in graph.consts for name in node.inputs):
        _constant_operand(graph, node)
    else:
        node.attrs = {}


def _constant_operand(graph: Graph, node: Node) -> None:
    """x + c, x - c, c - x, x * c, x / c as Affine: a * x + b."""
    first = node.inputs[0] in graph.consts
    x, name = (node.inputs[1], node.inputs[0]) if first else (node.inputs[0], node.inputs[1])
    c = graph.consts[name].astype(np.float64)
    one = np.ones_like(c)
    if node.op == "Add":
        a, b = one, c
    elif node.op == "Sub":
        a, b = (-one, c) if first else (one, -c)
    else:
        a, b = (c if node.op == "Mul" else 1.0 / c), 0 * one
    if graph.shapes[x] != graph.shapes[node.output]:
        raise fail(node, "its constant is larger than the activation", "make both operands the same shape")
    _affine(graph, node, x, a, b)


def _affine(graph: Graph, node: Node, x: str, a: Array, b: Array) -> None:
    """Makes `node` Affine. A constant that varies along several axes works on the flattened tensor."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise fail(node, "its constant is not finite", "train or export the model again")
    shape = graph.shapes[x]
    a, b = (np.asarray(v).reshape((1,) * (len(shape) - v.ndim) + v.shape) for v in (a, b))
    axes = [axis for axis in range(len(shape)) if _varies(a, axis) or _varies(b, axis)]
    node.op, node.domain = "Affine", ""
    if not axes:
        node.inputs, node.attrs = [x], {"axis": None, "a": a.reshape(-1)[:1], "b": b.reshape(-1)[:1]}
        return
    if len(axes) == 1:
        line = (1,) * axes[0] + (-1,) + (1,) * (len(shape) - axes[0] - 1)
        index = tuple(slice(None) if axis == axes[0] else 0 for axis in range(len(shape)))
        full = np.zeros(shape[axes[0]]).reshape(line)
        node.inputs, node.attrs = [x], {"axis": axes[0], "a": (a + full)[index], "b": (b + full)[index]}
        return
    size = math.prod(shape)
    flat = graph.add_tensor(f"{node.output}/flat", (1, size), graph.quant.get(x))
    done = graph.add_tensor(f"{node.output}/affine", (1, size), graph.quant.get(node.output))
    zeros = np.zeros(shape)
    node.attrs = {"axis": 1, "a": (a + zeros).reshape(-1), "b": (b + zeros).reshape(-1)}
    before = Node("Reshape", graph.new_name(f"{node.name}/flatten"), [x], [flat])
    after = Node("Reshape", graph.new_name(f"{node.name}/reshape"), [done], [node.output])
    node.inputs, node.outputs = [flat], [done]
    graph.replace(node, [before, node, after])


def _varies(value: Array, axis: int) -> bool:
    return value.shape[axis] > 1 and bool((value != np.take(value, [0], axis)).any())


def _batch_norm(graph: Graph, node: Node) -> None:
    gamma, beta, mean, var = (graph.consts[name].astype(np.float64) for name in node.inputs[1:5])
    a = gamma / np.sqrt(var + float(node.attrs.get("epsilon", 1e-5)))
    line = (-1,) + (1,) * (len(graph.shapes[node.inputs[0]]) - 2)
    node.outputs = node.outputs[:1]
    _affine(graph, node, node.inputs[0], a.reshape(line), (beta - mean * a).reshape(line))


def _global_average_pool(graph: Graph, node: Node) -> None:
    node.attrs = {}


_RULES: dict[str, Callable[[Graph, Node], None]] = {
    "Conv": canonical_conv,
    "Gemm": canonical_gemm,
    "MatMul": canonical_matmul,
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "Clip": _clip,
    "Min": _min_max,
    "Max": _min_max,
    "LeakyRelu": _leaky_relu,
    "Add": _add,
    "Sub": _constant_operand,
    "Mul": _constant_operand,
    "Div": _constant_operand,
    "Concat": _concat,
    "MaxPool": canonical_max_pool,
    "AveragePool": canonical_average_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "ReduceMean": _reduce_mean,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Identity": _reshape,
    "Transpose": _transpose,
    "Pad": _pad,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Requantize": _keep,
}
