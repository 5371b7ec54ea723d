"""Transposes and Reshapes move towards the output, meet, and cancel or disappear into a Gemm's weight."""

from __future__ import annotations

import numpy as np

from mcugrad.frontend.graph import Array, Graph, Node

_ELEMENTWISE = ("Clip", "LeakyRelu", "Requantize")


def drop_reshape(graph: Graph, node: Node) -> bool:
    """A Reshape to the same shape disappears; a Reshape of a Reshape skips the first."""
    if node.op != "Reshape":
        return False
    x = node.inputs[0]
    if graph.shapes[x] == graph.shapes[node.output] and (node.output not in graph.outputs or x not in graph.inputs):
        graph.drop(node)
        return True
    before = graph.producers().get(x)
    if before is None or before.op != "Reshape":
        return False
    node.inputs = [before.inputs[0]]
    return True


def simplify_transpose(graph: Graph, node: Node) -> bool:
    """A Transpose that only moves ones is a Reshape; two in a row are one."""
    if node.op != "Transpose":
        return False
    shape, perm = graph.shapes[node.inputs[0]], node.attrs["perm"]
    moved = [p for p in perm if shape[p] != 1]
    if moved == sorted(moved):
        node.op, node.attrs = "Reshape", {}
        return True
    before = graph.producers().get(node.inputs[0])
    if before is None or before.op != "Transpose":
        return False
    node.attrs = {"perm": [before.attrs["perm"][p] for p in perm]}
    node.inputs = [before.inputs[0]]
    return True


def sink(graph: Graph, node: Node) -> bool:
    """f(layout(x)) = layout(f(x)) for what works on each value by itself, Pad, and Affine behind its own layer."""
    if node.op not in ("Reshape", "Transpose"):
        return False
    user = graph.only_consumer(node.output)
    if user is None:
        return False
    after = graph.only_consumer(user.output)
    cancels = after is not None and after.op == node.op == "Transpose"
    if node.inputs[0] in graph.inputs and not cancels:
        return False
    perm = node.attrs.get("perm")
    if user.op == "Affine":
        if not _affine_follows(graph, node, user, cancels):
            return False
    elif user.op == "Pad" and perm is not None:
        rank, old = len(perm), user.attrs["pads"]
        pads = [0] * (2 * rank)
        for at, axis in enumerate(perm):
            pads[axis], pads[rank + axis] = old[at], old[rank + at]
        user.attrs = {**user.attrs, "pads": pads}
    elif user.op not in _ELEMENTWISE:
        return False
    _swap(graph, [node], user, perm)
    return True


def _joins(graph: Graph, tensor: str) -> bool:
    """Whether an Affine that reads `tensor` could become part of what made it."""
    before = graph.producers().get(tensor)
    layers = ("Conv", "Gemm", "Affine", "Reshape", "Transpose")
    return before is not None and before.op in layers and graph.fusable(before)


def _affine_follows(graph: Graph, layout: Node, affine: Node, cancels: bool) -> bool:
    """Whether `affine` gains from standing before the layout; its axis becomes the one it has there."""
    if not cancels and (not _joins(graph, layout.inputs[0]) or layout.output in graph.quant):
        return False
    axis = affine.attrs["axis"]
    if axis is not None and layout.op == "Reshape":
        axis = _axis_before_reshape(graph.shapes[layout.inputs[0]], graph.shapes[layout.output], axis)
        if axis is None:
            return False
    elif axis is not None:
        axis = layout.attrs["perm"][axis]
    affine.attrs = {**affine.attrs, "axis": axis}
    return True


def _axis_before_reshape(old: tuple[int, ...], new: tuple[int, ...], axis: int) -> int | None:
    """The axis of `old` that lies in memory exactly as `axis` of `new` does."""
    outer = int(np.prod(new[:axis]))
    for index, size in enumerate(old):
        if size == new[axis] and int(np.prod(old[:index])) == outer:
            return index
    return None


def transpose_before_affine(graph: Graph, node: Node) -> bool:
    """Affine -> Transpose becomes Transpose -> Affine where nothing before can take the Affine."""
    affine = graph.producers().get(node.inputs[0]) if node.op == "Transpose" else None
    if affine is None or affine.op != "Affine" or affine.attrs["axis"] in (None, 1):
        return False
    if graph.only_consumer(affine.output) is not node or _joins(graph, affine.inputs[0]):
        return False
    perm, x, out = node.attrs["perm"], affine.inputs[0], node.output
    moved = graph.add_tensor(f"{out}/moved", graph.shapes[out], graph.quant.get(x))
    affine.attrs = {**affine.attrs, "axis": perm.index(affine.attrs["axis"])}
    affine.inputs, affine.outputs, node.inputs, node.outputs = [moved], [out], [x], [moved]
    graph.nodes.remove(node)
    graph.replace(affine, [node, affine])
    return True


def merge_operands(graph: Graph, node: Node) -> bool:
    """Add and Concat of operands that are all transposed alike work before the Transpose."""
    if node.op not in ("Add", "Concat"):
        return False
    producers = graph.producers()
    before = [producers.get(name) for name in node.inputs]
    layouts = [n for n in before if n is not None and n.op == "Transpose" and graph.only_consumer(n.output) is node]
    if len(layouts) != len(node.inputs) or any(n.attrs["perm"] != layouts[0].attrs["perm"] for n in layouts):
        return False
    perm = layouts[0].attrs["perm"]
    if node.op == "Concat":
        node.attrs = {"axis": perm[node.attrs["axis"]]}
    _swap(graph, layouts, node, perm)
    return True


def _swap(graph: Graph, layouts: list[Node], user: Node, perm: list[int] | None) -> None:
    """Puts one copy of the layout behind `user` in place of one before each of its operands."""
    out, first = user.output, layouts[0]
    shape = graph.shapes[first.inputs[0]]
    if perm is not None:
        after = graph.shapes[out]
        shape = tuple(after[perm.index(axis)] for axis in range(len(perm)))
    inner = graph.add_tensor(f"{out}/before", shape, graph.quant.get(out))
    by_output = {node.output: node.inputs[0] for node in layouts}
    user.inputs = [by_output.get(name, name) for name in user.inputs]
    user.outputs = [inner]
    for node in dict.fromkeys(layouts):
        graph.nodes.remove(node)
    graph.replace(user, [user, Node(first.op, first.name, [inner], [out], dict(first.attrs))])


def layout_before_mean(graph: Graph, node: Node) -> bool:
    """The mean over all positions sees neither their order nor their arrangement in rows."""
    before = graph.producers().get(node.inputs[0]) if node.inputs else None
    if node.op != "GlobalAveragePool" or before is None:
        return False
    x = before.inputs[0]
    shape, out_shape = graph.shapes[x], graph.shapes[node.output]
    if before.op == "Transpose" and before.attrs["perm"][:2] == [0, 1]:
        node.inputs = [x]
    elif before.op == "Reshape" and len(shape) in (3, 4) and shape[:2] == out_shape[:2]:
        mean_shape = (*shape[:2], *(1 for _ in shape[2:]))
        mean = graph.add_tensor(f"{node.output}/mean", mean_shape, graph.quant.get(node.output))
        after = Node("Reshape", graph.new_name(f"{node.name}/reshape"), [mean], [node.output])
        node.inputs, node.outputs = [x], [mean]
        graph.replace(node, [node, after])
    else:
        return False
    return True


def transpose_into_gemm(graph: Graph, node: Node) -> bool:
    """Transpose -> Reshape -> Gemm: the weight's columns are permuted instead."""
    producers = graph.producers()
    flatten = producers.get(node.inputs[0]) if node.inputs else None
    if node.op != "Gemm" or flatten is None or flatten.op != "Reshape":
        return False
    moved = producers.get(flatten.inputs[0])
    if moved is None or moved.op != "Transpose":
        return False
    shape = graph.shapes[moved.inputs[0]]
    order = np.arange(int(np.prod(shape))).reshape(shape).transpose(moved.attrs["perm"]).reshape(-1)
    back = np.argsort(order)

    def permute(weight: Array) -> Array:
        return np.ascontiguousarray(weight[:, back])

    graph.map_const(node, 1, permute)
    flat = graph.add_tensor(f"{node.output}/flat", graph.shapes[flatten.output], graph.quant.get(moved.inputs[0]))
    new = Node("Reshape", graph.new_name(f"{node.name}/flatten"), [moved.inputs[0]], [flat])
    node.inputs[0] = flat
    graph.replace(node, [new, node])
    return True
