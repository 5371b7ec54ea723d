"""Cuts a network in two before its first trained layer: what is before runs once, what is behind is trained."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx.utils import Extractor


@dataclass(frozen=True)
class Halves:
    """Two ONNX models; the float tensor `joint` is the first one's output (dequantised) and the second one's input."""

    prefix: onnx.ModelProto
    suffix: onnx.ModelProto
    joint: str


def cut(model: onnx.ModelProto, first: str) -> Halves:
    """Cut at the last tensor before node `first` through which everything goes.

    In a quantised graph the tensor is one that a QuantizeLinear follows: the prefix ends in its dequantisation, the
    suffix begins with its quantisation, which gives the same integers again. Raises ValueError when there is none.
    """
    graph = model.graph
    source, sink = graph.input[0].name, graph.output[0].name
    quantised = any(node.op_type == "QuantizeLinear" for node in graph.node)
    joint = _joint(graph, source, first, quantised)
    end = joint
    if quantised:
        q = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == joint)
        end = next(n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] == q.output[0]).output[0]
    extractor = Extractor(onnx.shape_inference.infer_shapes(model))
    prefix, suffix = extractor.extract_model([source], [end]), extractor.extract_model([joint], [sink])
    return Halves(prefix, suffix, joint)


def _joint(graph: onnx.GraphProto, source: str, first: str, quantised: bool) -> str:
    """The latest tensor before `first` that alone carries the data (a tensor of constants carries none)."""
    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    live, found = {source}, None
    for index, node in enumerate(graph.node):
        if len(live) == 1 and (not quantised or (node.op_type == "QuantizeLinear" and node.input[0] in live)):
            found = next(iter(live))
        if node.name == first:
            break
        if live & set(node.input):
            live |= set(node.output)
            live -= {name for name in live if last_use.get(name, -1) <= index}
    else:
        raise ValueError(f"the graph has no node '{first}'")
    if found is None or found == source:
        raise ValueError(f"no single tensor lies before '{first}'")
    return found
