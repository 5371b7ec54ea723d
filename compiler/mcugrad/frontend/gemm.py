"""Gemm and MatMul become Gemm of one row, weight (out, in); products of many rows become 1x1 convolutions."""

from __future__ import annotations

import math

import numpy as np

from mcugrad.frontend.graph import Array, Graph, Node, Shape, fail


def canonical_gemm(graph: Graph, node: Node) -> None:
    """alpha, beta, transA and transB disappear into the weight and the bias."""
    attrs, node.attrs = node.attrs, {}
    shape = graph.shapes[node.inputs[0]]
    x = node.inputs[0]
    if attrs.get("transA", 0):
        x = _transpose(graph, node, x, [1, 0], "a")
        shape = shape[::-1]
    if not attrs.get("transB", 0):
        graph.map_const(node, 1, np.transpose)
    alpha, beta = float(attrs.get("alpha", 1.0)), float(attrs.get("beta", 1.0))
    if alpha != 1.0 and not scale_rows(graph, node, np.full(graph.shapes[node.inputs[1]][0], alpha)):
        raise fail(node, f"its int8 weights cannot take its alpha of {alpha:g}", "export it with alpha = 1")
    node.inputs[0] = x
    _bias(graph, node, beta)
    _rows(graph, node, shape)


def canonical_matmul(graph: Graph, node: Node) -> None:
    """x @ w with a constant (in, out) matrix."""
    if node.inputs[0] in graph.consts:
        raise fail(node, "its constant is on the left", "write it as x @ w")
    rank = len(graph.shapes[node.inputs[1]])
    if math.prod(graph.shapes[node.inputs[1]][: max(0, rank - 2)]) != 1 or rank < 2:
        raise fail(node, "its constant is not a matrix", "multiply by a (in, out) matrix")
    matrix = graph.shapes[node.inputs[1]][-2:]
    graph.map_const(node, 1, lambda w: w.reshape(matrix).transpose())
    node.op, node.attrs, node.inputs = "Gemm", {}, node.inputs[:2]
    _rows(graph, node, graph.shapes[node.inputs[0]])


def scale_rows(graph: Graph, node: Node, factor: Array) -> bool:
    """Multiplies output channel o of the weight (axis 0) by factor[o]; False if integers behind it do not allow it."""
    name = node.inputs[1]
    line = (-1,) + (1,) * (graph.consts[name].ndim - 1)
    by = factor.reshape(line)
    stored = graph.stored.get(name)
    if stored is not None:
        turned = (v * np.sign(by) for v in (stored.q, stored.zero))
        if (by == 0).any() or any((v > 127).any() for v in turned):
            return False
    graph.map_const(node, 1, lambda w: w)  # a constant of its own
    own = node.inputs[1]
    if graph.only_consumer(own) is not node:
        own = graph.add_const(own, graph.consts[own])
        node.inputs[1] = own
    if stored is not None:
        q, zero = ((v * np.sign(by)).astype(v.dtype) for v in (stored.q, stored.zero))
        graph.stored[own] = type(stored)(q, (stored.scale * np.abs(by)).astype(np.float32), zero)
    graph.consts[own] = (graph.consts[own] * by).astype(np.float32)
    return True


def _bias(graph: Graph, node: Node, beta: float) -> None:
    """Input 2 becomes (out,), or an Add behind the Gemm where it is computed."""
    name = node.input(2)
    out = graph.shapes[node.inputs[1]][0]
    if not name or beta == 0.0:
        node.inputs = node.inputs[:2]
        return
    if name not in graph.consts:
        raise fail(node, "its bias is computed", "export the model with a constant bias")
    value = graph.consts[name]
    rows = value.reshape((1,) * (2 - value.ndim) + value.shape) if value.ndim < 2 else value
    if (rows != rows[:1]).any():
        raise fail(node, "its bias differs from row to row", "use one bias for each output")
    if value.size == out and beta == 1.0:
        graph.map_const(node, 2, lambda v: v.reshape(-1))
    else:
        line = np.broadcast_to(rows[0] * np.float32(beta), (out,))
        graph.set_const(node, 2, f"{name}/bias", np.array(line, np.float32))


def _transpose(graph: Graph, node: Node, x: str, perm: list[int], tag: str) -> str:
    shape = graph.shapes[x]
    moved = graph.add_tensor(f"{node.output}/{tag}", tuple(shape[p] for p in perm), graph.quant.get(x))
    new = Node("Transpose", graph.new_name(f"{node.name}/transpose"), [x], [moved], {"perm": perm})
    graph.nodes.insert(graph.nodes.index(node), new)
    return moved


def _reshape(graph: Graph, node: Node, x: str, shape: Shape, tag: str) -> str:
    flat = graph.add_tensor(f"{node.output}/{tag}", shape, graph.quant.get(x))
    new = Node("Reshape", graph.new_name(f"{node.name}/reshape"), [x], [flat])
    graph.nodes.insert(graph.nodes.index(node), new)
    return flat


def _rows(graph: Graph, node: Node, shape: Shape) -> None:
    """One row stays a Gemm on (1, in); more become Conv over positions: (1, m, in) -> (1, in, m) -> conv -> back."""
    m, size = math.prod(shape[:-1]), shape[-1]
    out, result, quant = graph.shapes[node.inputs[1]][0], node.output, graph.quant.get(node.output)
    if shape == (1, size) and graph.shapes[result] == (1, out):
        return
    if m == 1:
        node.inputs[0] = _reshape(graph, node, node.inputs[0], (1, size), "row")
        made = graph.add_tensor(f"{result}/gemm", (1, out), quant)
    else:
        spatial = shape[1:-1] if len(shape) in (3, 4) and shape[0] == 1 else (m,)
        x = _reshape(graph, node, node.inputs[0], (1, *spatial, size), "rows")
        rank = len(spatial)
        node.inputs[0] = _transpose(graph, node, x, [0, rank + 1, *range(1, rank + 1)], "channels")
        graph.map_const(node, 1, lambda w: w.reshape(w.shape + (1,) * rank))
        node.op = "Conv"
        ones = [1] * rank
        node.attrs = {"kernel_shape": ones, "strides": ones, "dilations": ones, "pads": [0] * 2 * rank, "group": 1}
        conv = graph.add_tensor(f"{result}/conv", (1, out, *spatial), quant)
        made = graph.add_tensor(f"{result}/moved", (1, *spatial, out), quant)
        perm = [0, *range(2, rank + 2), 1]
        back = Node("Transpose", graph.new_name(f"{node.name}/transpose"), [conv], [made], {"perm": perm})
        graph.nodes.insert(graph.nodes.index(node) + 1, back)
        node.outputs = [conv]
    if m == 1:
        node.outputs = [made]
    at = graph.nodes.index(node) + (1 if m == 1 else 2)
    graph.nodes.insert(at, Node("Reshape", graph.new_name(f"{node.name}/reshape"), [made], [result]))
