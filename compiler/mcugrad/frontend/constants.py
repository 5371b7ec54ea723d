"""Folding of everything that does not depend on the input: Constant nodes, shape arithmetic, no-op Casts, Dropout."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mcugrad.errors import McugradError
from mcugrad.frontend.graph import Array, Graph, Node, fail
from mcugrad.frontend.window import infer_shapes

# What exporters compute shapes and limits with; on activations most of these are refused (support.py).
FOLDABLE = {
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Div", "Equal",
    "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "Greater", "GreaterOrEqual", "Identity",
    "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterND", "Shape",
    "Sign", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
# A folded constant larger than this would not fit any target; it also bounds the memory that folding takes.
_MAX_ELEMENTS = 1 << 24


def resolve_constants(graph: Graph, *, strict: bool = True) -> None:
    """Infers shapes and folds constants until neither finds more; each may be what the other waits for.

    `strict` demands that all shapes fit together. Raises McugradError.
    """
    count = -1
    while count != len(graph.nodes):
        count = len(graph.nodes)
        infer_shapes(graph, strict=False)
        fold_constants(graph)
    infer_shapes(graph, strict=strict)


def fold_constants(graph: Graph) -> None:
    """Evaluates all nodes whose inputs are constant and removes those that change nothing. Raises McugradError."""
    for node in list(graph.nodes):
        if node.domain == "" and _fold(graph, node):
            continue
        if _is_identity(graph, node):
            graph.drop(node)
    graph.tidy()


def _fold(graph: Graph, node: Node) -> bool:
    if node.op == "Shape":
        if node.inputs[0] not in graph.shapes:
            return False
        shape = np.array(graph.shapes[node.inputs[0]], np.int64)
        value: list[Array] = [shape[node.attrs.get("start", 0) : node.attrs.get("end", len(shape))]]
    elif node.op == "Size" and node.inputs[0] in graph.shapes:
        value = [np.array(math.prod(graph.shapes[node.inputs[0]]), np.int64)]
    elif node.op == "Constant":
        value = [_constant(node)]
    elif node.op in FOLDABLE and all(not name or name in graph.consts for name in node.inputs):
        value = _evaluate(graph, node)
    else:
        return False
    for name, array in zip(node.outputs, value, strict=False):
        if name in graph.outputs:
            raise fail(node, "the graph's output does not depend on its input", "export the trained network itself")
        graph.consts[name] = array
        graph.shapes[name] = tuple(array.shape)
        graph.dtypes[name] = helper.np_dtype_to_tensor_dtype(array.dtype)
    graph.nodes.remove(node)
    return True


def _constant(node: Node) -> Array:
    attrs = node.attrs
    if "value" in attrs:
        return numpy_helper.to_array(attrs["value"])
    for key, dtype in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"), ("value_ints", "i8")):
        if key in attrs:
            return np.array(attrs[key], dtype)
    raise fail(node, "a constant of text or sparse data", "remove it from the exported graph")


def _evaluate(graph: Graph, node: Node) -> list[Array]:
    feeds = {name: graph.consts[name] for name in node.inputs if name}
    _check_size(node, feeds)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in feeds.items()
    ]
    proto = helper.make_node(node.op, node.inputs, node.outputs)
    proto.attribute.extend(helper.make_attribute(key, value) for key, value in node.attrs.items())
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.outputs if name]
    model = helper.make_model(
        helper.make_graph([proto], "fold", inputs, outputs), opset_imports=[helper.make_opsetid("", graph.opset)]
    )
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the evaluator raises whatever numpy does
        raise fail(node, f"its constant inputs cannot be evaluated ({error})", "export the model again") from error
    return [np.asarray(value) for value in results]


def _check_size(node: Node, feeds: dict[str, Array]) -> None:
    """Refuses the operators that make much out of little before they allocate."""
    size = 0.0
    if node.op in ("ConstantOfShape", "Expand"):
        size = math.prod(float(v) for v in feeds[node.inputs[-1]].reshape(-1))
    elif node.op == "Tile":
        size = feeds[node.inputs[0]].size * math.prod(float(v) for v in feeds[node.inputs[1]].reshape(-1))
    elif node.op == "Range":
        start, limit, delta = (float(feeds[name].reshape(-1)[0]) for name in node.inputs)
        size = abs(limit - start) / abs(delta) if delta else math.inf
    else:
        size = math.prod(np.broadcast_shapes(*(v.shape for v in feeds.values()))) if _elementwise(feeds) else 0
    if not size <= _MAX_ELEMENTS:
        raise McugradError(f"node '{node.name}' ({node.op}): a constant of {size:.0f} elements; export a smaller model")


def _elementwise(feeds: dict[str, Array]) -> bool:
    try:
        np.broadcast_shapes(*(value.shape for value in feeds.values()))
    except ValueError:
        return False
    return True


def _is_identity(graph: Graph, node: Node) -> bool:
    if node.domain or node.input(0) in graph.consts:
        return False
    if node.op == "Identity":
        return True
    if node.op == "Dropout":
        training = graph.consts.get(node.input(2))
        mask_used = len(node.outputs) > 1 and (node.outputs[1] in graph.outputs or node.outputs[1] in graph.consumers())
        return not mask_used and (not node.input(2) or (training is not None and not training.any()))
    return node.op == "Cast" and node.attrs.get("to") == graph.dtypes.get(node.inputs[0])
