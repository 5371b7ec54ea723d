"""From a file to a checked ModelProto: batch 1, static shapes, constants folded, every operator accepted."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.inliner

from mcugrad.errors import McugradError
from mcugrad.frontend.constants import resolve_constants
from mcugrad.frontend.external import read_proto
from mcugrad.frontend.graph import Graph, from_model, to_model
from mcugrad.frontend.qoperator import convert_qoperators, is_qoperator
from mcugrad.frontend.support import known, problems

MIN_OPSET = 11
_MAX_NODES = 20_000
_INPUT_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def load_model(path: str | Path) -> onnx.ModelProto:
    """The model of an ONNX file with batch 1, inferred shapes, folded constants and unique node names.

    QOperator graphs come back as QDQ. Raises McugradError with one sentence for whatever cannot be compiled.
    """
    graph = _load_graph(Path(path), lenient=False)
    return to_model(graph, canonical=False)


def load_for_inspection(path: str | Path) -> onnx.ModelProto:
    """As load_model, but operators that are not accepted stay in the graph (their shapes may be unknown)."""
    return to_model(_load_graph(Path(path), lenient=True), canonical=False)


def check_operators(graph: Graph) -> None:
    """Raises McugradError for the first operator that cannot be compiled, counting the others."""
    found = problems(graph)
    if found:
        more = f" ({len(found) - 1} more nodes are not supported, see mcugrad inspect)" if len(found) > 1 else ""
        raise McugradError(f"{found[0].error()}{more}")


def _load_graph(path: Path, *, lenient: bool) -> Graph:
    model = read_proto(path)
    _check_structure(model, path)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_opset(model, path)
    graph = from_model(model)
    strange = [n for n in graph.nodes if not known(n) and not is_qoperator(n)]
    if strange and not lenient:
        check_operators(graph)
    check_interface(graph)
    set_batch(graph)
    if not strange:
        _run_checker(model, path)
    convert_qoperators(graph)
    resolve_constants(graph, strict=not strange)
    if not lenient:
        check_operators(graph)
        _check_static(graph)
    return graph


def _check_structure(model: onnx.ModelProto, path: Path) -> None:
    if len(model.graph.node) > _MAX_NODES:
        raise McugradError(f"{path} has {len(model.graph.node)} nodes, more than {_MAX_NODES}; give a smaller model")
    if model.graph.sparse_initializer:
        raise McugradError(f"{path} has sparse weights, which are not supported; store them dense")
    if model.training_info:
        raise McugradError(f"{path} is a training graph; export the inference graph")


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if not versions or not MIN_OPSET <= versions[0] <= newest:
        found = versions[0] if versions else "none"
        raise McugradError(
            f"{path} uses ONNX opset {found}, accepted are {MIN_OPSET} to {newest}; export it with opset_version=17"
        )


def _run_checker(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, or what its parser raises
        text = " ".join(str(error).split("==>")[0].split())
        raise McugradError(f"{path} is not a valid ONNX model ({text}); export it again") from error


def check_interface(graph: Graph) -> None:
    """One float input (or int8 read by DequantizeLinear only) and one output. Raises McugradError."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise McugradError(
            f"the model has inputs {graph.inputs} and outputs {graph.outputs}; exactly one of each is supported, "
            "export a model with one input tensor and one output tensor"
        )
    name = graph.inputs[0]
    kind = graph.dtypes.get(name, 0)
    if kind not in _INPUT_TYPES:
        text = onnx.TensorProto.DataType.Name(kind).lower()
        raise McugradError(f"input '{name}' has the type {text}; export the model with a float32 input")


def set_batch(graph: Graph) -> None:
    """Sets the first dimension of every input to 1. Raises McugradError if another one is not a number."""
    for name in graph.inputs:
        if name not in graph.dims:
            raise McugradError(f"input '{name}' has no shape; export the model with a fixed input size")
        dims = graph.dims[name]
        if not dims:
            raise McugradError(f"input '{name}' is a scalar; its first dimension must be the batch")
        for axis, dim in enumerate(dims[1:], 1):
            if not isinstance(dim, int) or dim <= 0:
                raise McugradError(
                    f"input '{name}' has the dynamic dimension {axis} ('{dim}'); only the batch may be dynamic, "
                    "export the model with a fixed input size"
                )
        graph.shapes = {key: shape for key, shape in graph.shapes.items() if key in graph.consts or key in graph.inputs}
        graph.shapes[name] = (1, *(int(dim) for dim in dims[1:]))


def _check_static(graph: Graph) -> None:
    for node in graph.nodes:
        for name in node.outputs:
            if name and name not in graph.shapes:
                raise McugradError(
                    f"node '{node.name}' ({node.op}): the shape of its output '{name}' depends on data; only the batch "
                    "may be dynamic, export the model with a fixed input size"
                )
