"""prepare: any accepted graph in, the canonical dialect out (README.md describes it)."""

from __future__ import annotations

import numpy as np
import onnx

from mcugrad.errors import McugradError
from mcugrad.frontend import fuse, layout
from mcugrad.frontend.annotate import strip_qdq
from mcugrad.frontend.constants import resolve_constants
from mcugrad.frontend.dialect import to_dialect
from mcugrad.frontend.emit_qdq import emit_qdq, fold_clips, leave_input_layout_in_float
from mcugrad.frontend.finish import finish
from mcugrad.frontend.graph import Graph, fail, from_model, infer, to_model
from mcugrad.frontend.load import check_operators
from mcugrad.frontend.qoperator import convert_qoperators

_RULES = (
    fuse.fold_affine,
    fuse.fold_pad,
    fuse.drop_empty_pad,
    fuse.merge_clips,
    fuse.conv_to_gemm,
    layout.drop_reshape,
    layout.simplify_transpose,
    layout.sink,
    layout.transpose_before_affine,
    layout.merge_operands,
    layout.layout_before_mean,
    layout.transpose_into_gemm,
)
# Each rule shortens the graph or moves a layout towards the output; this only guards against a mistake in them.
_MAX_ROUNDS = 200


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The canonical float or QDQ form of a model whose shapes are static. Raises McugradError."""
    return write(canonical_graph(model))


def canonical_graph(model: onnx.ModelProto) -> Graph:
    """The model in the internal forms of dialect.py, fully rewritten. Raises McugradError."""
    graph = from_model(model)
    convert_qoperators(graph)
    resolve_constants(graph)
    check_operators(graph)
    strip_qdq(graph)
    to_dialect(graph)
    rewrite(graph)
    fuse.affine_to_conv(graph)
    rewrite(graph)
    _check_weights(graph)
    if graph.quant:
        fold_clips(graph)
        rewrite(graph)
        leave_input_layout_in_float(graph)
    return graph


def write(graph: Graph) -> onnx.ModelProto:
    """The ONNX form of a canonical graph, which it uses up. Raises McugradError."""
    emit_qdq(graph)
    finish(graph)
    graph.tidy()
    return _verified(graph)


def rewrite(graph: Graph) -> None:
    """Applies all rules until none does."""
    for _ in range(_MAX_ROUNDS):
        changed = False
        for node in list(graph.nodes):
            for rule in _RULES:
                if node in graph.nodes and rule(graph, node):
                    changed = True
        graph.tidy()
        if not changed:
            return
    raise McugradError(f"graph '{graph.name}': its layout operators do not settle; remove some Transposes")


def _check_weights(graph: Graph) -> None:
    for node in graph.nodes:
        for name in node.inputs:
            if name in graph.consts and not np.isfinite(graph.consts[name]).all():
                raise fail(node, f"constant '{name}' holds NaN or infinity", "train or export the model again")


def _verified(graph: Graph) -> onnx.ModelProto:
    """The model, after ONNX's own inference has agreed with every shape."""
    expected = dict(graph.shapes)
    model = to_model(graph)
    graph.opset = model.opset_import[0].version
    infer(graph)
    for name, shape in expected.items():
        if graph.shapes.get(name) != shape:
            raise McugradError(f"tensor '{name}': shape {graph.shapes.get(name)} instead of {shape}; report this model")
    onnx.checker.check_model(model)
    return model


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether the model has quantised activations (QDQ or QOperator nodes)."""
    names = {node.op_type for node in model.graph.node}
    return any(name in ("QuantizeLinear", "QGemm") or name.startswith("QLinear") for name in names)
