"""Conv and pooling with everything explicit: kernel, strides, dilations, pads; no auto_pad, no ceil_mode."""

from __future__ import annotations

from mcugrad.frontend.graph import Graph, Node, fail, infer


def canonical_conv(graph: Graph, node: Node) -> None:
    """attrs: kernel_shape, strides, dilations, pads (begins then ends), group; inputs x, w, optional bias."""
    kernel = list(graph.shapes[node.inputs[1]][2:])
    attrs = _window(graph, node, kernel)
    node.attrs = {**attrs, "group": int(node.attrs.get("group", 1))}
    node.inputs = node.inputs[:2] if not node.input(2) else node.inputs[:3]


def canonical_max_pool(graph: Graph, node: Node) -> None:
    """attrs: kernel_shape, strides, dilations, pads; ceil_mode has become padding at the end."""
    attrs = _window(graph, node, [int(k) for k in node.attrs["kernel_shape"]])
    attrs["pads"] = _ceil(graph, node, attrs)
    node.attrs, node.outputs = attrs, node.outputs[:1]


def global_max_pool(graph: Graph, node: Node) -> None:
    """A MaxPool whose window is the whole map."""
    kernel = list(graph.shapes[node.inputs[0]][2:])
    ones = [1] * len(kernel)
    node.op = "MaxPool"
    node.attrs = {"kernel_shape": kernel, "strides": ones, "dilations": ones, "pads": [0] * (2 * len(kernel))}


def canonical_average_pool(graph: Graph, node: Node) -> None:
    """attrs: kernel_shape, strides, pads, count_include_pad (1 only where there is padding)."""
    include = int(node.attrs.get("count_include_pad", 0))
    attrs = _window(graph, node, [int(k) for k in node.attrs["kernel_shape"]])
    declared, full = list(attrs["pads"]), _ceil(graph, node, attrs)
    if include and any(declared) and full != declared:
        # What ceil_mode adds is never counted, declared padding is: pad first, then ignore the rest.
        shape = graph.shapes[node.inputs[0]]
        half = len(declared) // 2
        pads = [0, 0, *declared[:half], 0, 0, *declared[half:]]
        grown = tuple(n + pads[i] + pads[len(shape) + i] for i, n in enumerate(shape))
        padded = graph.add_tensor(f"{node.output}/padded", grown, graph.quant.get(node.inputs[0]))
        pad = Node("Pad", graph.new_name(f"{node.name}/pad"), [node.inputs[0]], [padded], {"pads": pads, "value": 0.0})
        node.inputs = [padded]
        graph.replace(node, [pad, node])
        full = [after - before for after, before in zip(full, declared, strict=True)]
        include = 0
    elif not any(declared):
        include = 0
    node.attrs = {key: attrs[key] for key in ("kernel_shape", "strides")}
    node.attrs.update(pads=full, count_include_pad=include)
    if not any(full) and attrs["kernel_shape"] == list(graph.shapes[node.inputs[0]][2:]):
        node.op, node.attrs = "GlobalAveragePool", {}


def infer_shapes(graph: Graph, *, strict: bool = True) -> None:
    """graph.infer, corrected where it counts pooling windows that would start behind the data.

    ONNX's inference counts them for older opsets with ceil_mode; onnxruntime and PyTorch do not.
    """
    for node in graph.nodes:
        if node.op in ("MaxPool", "AveragePool") and node.attrs.get("ceil_mode", 0):
            infer(graph, strict=False)  # what follows a pool may not fit before the pool is corrected
            _drop_late_windows(graph, node)
    infer(graph, strict=strict)


def _drop_late_windows(graph: Graph, node: Node) -> None:
    if node.inputs[0] not in graph.shapes or node.output not in graph.shapes:
        return
    attrs = _window(graph, node, [int(k) for k in node.attrs["kernel_shape"]])
    pads, rank = attrs["pads"], len(attrs["kernel_shape"])
    before, after = graph.shapes[node.inputs[0]][2:], graph.shapes[node.output][2:]
    late = [(after[i] - 1) * attrs["strides"][i] >= before[i] + pads[i] for i in range(rank)]
    if not any(late):
        return
    full = _ceil(graph, node, attrs)
    kept = [pads[i] if late[i % rank] else full[i] for i in range(2 * rank)]
    if kept != pads and node.attrs.get("count_include_pad", 0):
        raise fail(node, "ceil_mode and count_include_pad with a stride larger than the window", "set ceil_mode=0")
    node.attrs = {**node.attrs, "ceil_mode": 0, "auto_pad": "NOTSET", "pads": kept}


def _window(graph: Graph, node: Node, kernel: list[int]) -> dict[str, list[int]]:
    rank = len(kernel)
    strides = [int(v) for v in node.attrs.get("strides") or [1] * rank]
    dilations = [int(v) for v in node.attrs.get("dilations") or [1] * rank]
    attrs = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    return {**attrs, "pads": _pads(graph, node, attrs)}


def _pads(graph: Graph, node: Node, attrs: dict[str, list[int]]) -> list[int]:
    rank, mode = len(attrs["kernel_shape"]), node.attrs.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = [int(v) for v in node.attrs.get("pads") or [0] * (2 * rank)]
        if min(pads, default=0) < 0:
            raise fail(node, f"negative padding {pads}", "crop with Pad or choose a smaller input")
        return pads
    if mode == "VALID":
        return [0] * (2 * rank)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise fail(node, f"auto_pad is '{mode}', which ONNX does not know", "export the model again")
    begins, ends = [], []
    for axis, size in enumerate(graph.shapes[node.inputs[0]][2:]):
        stride = attrs["strides"][axis]
        total = max(0, (-(-size // stride) - 1) * stride + _extent(attrs, axis) - size)
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return begins + ends


def _extent(attrs: dict[str, list[int]], axis: int) -> int:
    """Positions that a dilated kernel spans."""
    return (attrs["kernel_shape"][axis] - 1) * attrs["dilations"][axis] + 1


def _ceil(graph: Graph, node: Node, attrs: dict[str, list[int]]) -> list[int]:
    """The pads with which floor arithmetic gives the output's shape."""
    pads, rank = list(attrs["pads"]), len(attrs["kernel_shape"])
    before, after = graph.shapes[node.inputs[0]][2:], graph.shapes[node.output][2:]
    for axis in range(rank):
        needed = (after[axis] - 1) * attrs["strides"][axis] + _extent(attrs, axis)
        pads[rank + axis] += max(0, needed - before[axis] - pads[axis] - pads[rank + axis])
    return pads
