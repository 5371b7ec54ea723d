"""Constants, padding and limits move into the layer they belong to. Each rule rewrites once and says whether it did."""

from __future__ import annotations

import math

import numpy as np

from mcugrad.frontend.gemm import scale_rows
from mcugrad.frontend.graph import Array, Graph, Node


def fold_affine(graph: Graph, node: Node) -> bool:
    """a * x + b joins the Conv, Gemm or Affine before it, or the Conv or Gemm behind it."""
    if node.op != "Affine":
        return False
    a, b = node.attrs["a"], node.attrs["b"]
    if (a == 1).all() and (b == 0).all() and _same_quant(graph, node):
        graph.drop(node)
        return True
    before = graph.producers().get(node.inputs[0])
    if before is None or not graph.fusable(before):
        return _fold_forward(graph, node)
    if before.op == "Affine" and _compose(graph, before, node):
        return True
    last = node.attrs["axis"] in (None, 1)
    if before.op in ("Conv", "Gemm") and last and _into_layer(graph, before, a, b):
        graph.drop(node)
        return True
    return _fold_forward(graph, node)


def _same_quant(graph: Graph, node: Node) -> bool:
    after = graph.quant.get(node.output)
    return after is None or after == graph.quant.get(node.inputs[0])


def _compose(graph: Graph, first: Node, second: Node) -> bool:
    one, two = first.attrs, second.attrs
    if one["axis"] is not None and two["axis"] is not None and one["axis"] != two["axis"]:
        return False
    axis = one["axis"] if one["axis"] is not None else two["axis"]
    second.attrs = {"axis": axis, "a": one["a"] * two["a"], "b": one["b"] * two["a"] + two["b"]}
    first_input = first.inputs[0]
    graph.nodes.remove(first)
    second.inputs = [first_input]
    return True


def _into_layer(graph: Graph, layer: Node, a: Array, b: Array) -> bool:
    out = graph.shapes[layer.inputs[1]][0]
    a, b = np.broadcast_to(a, (out,)), np.broadcast_to(b, (out,))
    if (a != 1).any() and not scale_rows(graph, layer, a):
        return False
    old = graph.consts[layer.inputs[2]].astype(np.float64) if layer.input(2) else np.zeros(out)
    if layer.input(2) or b.any():
        base = layer.input(2) or f"{layer.name}.bias"
        graph.set_const(layer, 2, base, (old * a + b).astype(np.float32))
    return True


def _fold_forward(graph: Graph, node: Node) -> bool:
    """W (a x + b) = (W a) x + W b, for float layers that do not pad (padding is zero before the scale, b after it)."""
    layer = graph.only_consumer(node.output)
    if layer is None or node.output in graph.quant or layer.op not in ("Conv", "Gemm") or node.inputs[0] in graph.quant:
        return False
    a, b, weight = node.attrs["a"], node.attrs["b"], layer.inputs[1]
    padded = any(layer.attrs.get("pads", [])) and bool((b != 0).any())
    if node.attrs["axis"] not in (None, 1) or padded or weight in graph.stored or layer.inputs[0] != node.output:
        return False
    w = graph.consts[weight].astype(np.float64)
    channels = graph.shapes[node.inputs[0]][1]
    groups = int(layer.attrs.get("group", 1))
    # Row o of the weight sees the input channels of its group.
    rows = np.repeat(np.arange(groups), w.shape[0] // groups)
    line = (w.shape[0], w.shape[1]) + (1,) * (w.ndim - 2)
    scale, shift = (np.broadcast_to(v, (channels,)).reshape(groups, -1)[rows].reshape(line) for v in (a, b))
    bias = (w * shift).reshape(w.shape[0], -1).sum(axis=1)
    if layer.input(2):
        bias = bias + graph.consts[layer.inputs[2]]
    graph.set_const(layer, 1, weight, (w * scale).astype(np.float32))
    if layer.input(2) or bias.any():
        graph.set_const(layer, 2, layer.input(2) or f"{layer.name}.bias", bias.astype(np.float32))
    graph.nodes.remove(node)
    layer.inputs[0] = node.inputs[0]
    return True


def affine_to_conv(graph: Graph) -> None:
    """What is left becomes a depthwise 1x1 Conv over (1, channels, positions)."""
    for node in [n for n in graph.nodes if n.op == "Affine"]:
        shape, axis = graph.shapes[node.output], node.attrs["axis"]
        axis = axis if axis is not None else min(1, len(shape) - 1)
        outer, size = math.prod(shape[1:axis]), shape[axis] if axis else math.prod(shape)
        a, b = (np.tile(np.broadcast_to(node.attrs[key], (size,)), outer) for key in ("a", "b"))
        channels = outer * size
        direct = axis == 1 and len(shape) in (3, 4)
        inner = shape if direct else (1, channels, math.prod(shape) // channels)
        ones = [1] * (len(inner) - 2)
        attrs = {"kernel_shape": ones, "strides": ones, "dilations": ones, "pads": ones * 0, "group": channels}
        attrs["pads"] = [0] * (2 * len(ones))
        node.op, node.attrs = "Conv", {**attrs, "_affine": True}
        graph.set_const(node, 1, f"{node.name}.weight", a.astype(np.float32).reshape((channels, 1, *ones)))
        if b.any():
            graph.set_const(node, 2, f"{node.name}.bias", b.astype(np.float32))
        if not direct:
            _reshaped(graph, node, inner)


def _reshaped(graph: Graph, node: Node, inner: tuple[int, ...]) -> None:
    """Runs a one-input node in another shape of the same data."""
    x, out = node.inputs[0], node.output
    before = graph.add_tensor(f"{out}/in", inner, graph.quant.get(x))
    after = graph.add_tensor(f"{out}/out", inner, graph.quant.get(out))
    node.inputs[0], node.outputs = before, [after]
    first = Node("Reshape", graph.new_name(f"{node.name}/reshape"), [x], [before])
    graph.replace(node, [first, node, Node("Reshape", graph.new_name(f"{node.name}/reshape"), [after], [out])])


def fold_pad(graph: Graph, node: Node) -> bool:
    """Zero padding of the spatial axes joins the convolution (or the average that counts padding) behind it."""
    pad = graph.producers().get(node.inputs[0]) if node.inputs else None
    if node.op not in ("Conv", "AveragePool") or pad is None or pad.op != "Pad" or pad.attrs["value"] != 0:
        return False
    if graph.quant.get(pad.output) != graph.quant.get(pad.inputs[0]):
        return False
    rank, pads = len(graph.shapes[pad.output]), pad.attrs["pads"]
    begin, end = pads[2:rank], pads[rank + 2 :]
    if pads[1] or pads[rank + 1]:
        return False
    if node.op == "AveragePool":
        half = len(begin)
        if any(node.attrs["pads"]) and not node.attrs["count_include_pad"]:
            return False
        total = [p + q for p, q in zip(begin + end, node.attrs["pads"], strict=True)]
        # onnxruntime refuses pools that are padded by a whole window.
        if any(total[i] >= k or total[half + i] >= k for i, k in enumerate(node.attrs["kernel_shape"])):
            return False
        node.attrs["count_include_pad"] = 1
    node.attrs["pads"] = [p + q for p, q in zip(begin + end, node.attrs["pads"], strict=True)]
    node.inputs[0] = pad.inputs[0]
    return True


def drop_empty_pad(graph: Graph, node: Node) -> bool:
    """A Pad by nothing disappears."""
    if node.op != "Pad" or any(node.attrs["pads"]) or not _same_quant(graph, node):
        return False
    graph.drop(node)
    return True


def merge_clips(graph: Graph, node: Node) -> bool:
    """Clip of Clip is one Clip; Clip without limits is none."""
    if node.op != "Clip":
        return False
    if node.attrs["min"] == -math.inf and node.attrs["max"] == math.inf and _same_quant(graph, node):
        graph.drop(node)
        return True
    before = graph.producers().get(node.inputs[0])
    if before is None or before.op != "Clip" or not graph.fusable(before):
        return False
    low, high = (min(max(before.attrs[key], node.attrs["min"]), node.attrs["max"]) for key in ("min", "max"))
    node.attrs = {"min": low, "max": high}
    node.inputs = [before.inputs[0]]
    graph.nodes.remove(before)
    return True


def conv_to_gemm(graph: Graph, node: Node) -> bool:
    """A dense Conv whose kernel covers its whole input is a Gemm on the flattened input."""
    if node.op != "Conv" or node.attrs["group"] != 1 or any(node.attrs["pads"]):
        return False
    kernel, shape = tuple(node.attrs["kernel_shape"]), graph.shapes[node.inputs[0]]
    if kernel != shape[2:] or any(d != 1 and k != 1 for d, k in zip(node.attrs["dilations"], kernel, strict=True)):
        return False
    out, size = graph.shapes[node.inputs[1]][0], math.prod(shape)
    x, result = node.inputs[0], node.output
    flat = graph.add_tensor(f"{result}/flat", (1, size), graph.quant.get(x))
    made = graph.add_tensor(f"{result}/gemm", (1, out), graph.quant.get(result))
    graph.map_const(node, 1, lambda w: w.reshape(out, size))
    node.op, node.attrs, node.outputs = "Gemm", {}, [made]
    node.inputs[0] = flat
    before = Node("Reshape", graph.new_name(f"{node.name}/flatten"), [x], [flat])
    graph.replace(node, [before, node, Node("Reshape", graph.new_name(f"{node.name}/reshape"), [made], [result])])
    return True
