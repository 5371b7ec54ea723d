"""What `mcugrad inspect` shows: the layers of a model with their sizes, and what of it cannot be compiled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from mcugrad.errors import McugradError
from mcugrad.frontend.graph import Graph, Node, Shape, from_model
from mcugrad.frontend.normalise import canonical_graph
from mcugrad.frontend.support import problems

_GRIDS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Layer:
    """One operator. Bytes are those of its output as int8 (0 where it is fused or only renames its input)."""

    name: str
    op: str
    shape: Shape | None  # of the output, with batch 1; None if unknown
    params: int
    macs: int
    activation_bytes: int
    problem: str | None  # why it cannot be compiled and what to do, without its name; None if it can


@dataclass(frozen=True)
class Pair:
    """A layer's int8 inputs and output together: no plan needs less SRAM than the largest of them."""

    layer: str
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class Summary:
    """All layers and their totals; `supported` is whether the model compiles as far as the frontend can tell.

    `problems`: those of the layers, each with its layer's name; or, where no layer has one, that of the whole graph.
    """

    layers: tuple[Layer, ...]
    params: int
    macs: int
    input_shape: Shape
    output_shape: Shape | None
    largest_pair: Pair | None
    quantized: bool
    problems: tuple[str, ...]

    @property
    def supported(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems


def summarize(model: onnx.ModelProto) -> Summary:
    """Sizes of the prepared graph, or of the graph as it is where something in it is not supported."""
    raw = from_model(model)
    found = problems(raw)
    reasons = {item.node: item.text for item in found}
    graph, general = raw, []
    if not reasons:
        try:
            graph = canonical_graph(model)
        except McugradError as error:
            general = [str(error)]
    shown = [node for node in graph.nodes if node.op not in _GRIDS or node.name in reasons]
    layers = tuple(_layer(graph, node, reasons.get(node.name)) for node in shown)
    return Summary(
        layers,
        sum(layer.params for layer in layers),
        sum(layer.macs for layer in layers),
        graph.shapes.get(graph.inputs[0], ()) if graph.inputs else (),
        graph.shapes.get(graph.outputs[0]),
        _largest_pair(graph, shown),
        bool(graph.quant) or any(node.op in _GRIDS for node in graph.nodes),
        (*(str(item.error()) for item in found), *general),
    )


def _layer(graph: Graph, node: Node, problem: str | None) -> Layer:
    shape = graph.shapes.get(node.output)
    op = node.op
    if op == "Clip" and node.attrs.get("min") == 0 and node.attrs.get("max") == math.inf:
        op = "Relu"
    params = sum(graph.consts[n].size for n in node.inputs if n in graph.consts) if op in ("Conv", "Gemm") else 0
    macs = 0
    if op in ("Conv", "Gemm", "MatMul") and node.inputs[1] in graph.shapes and shape is not None:
        weight = graph.shapes[node.inputs[1]]
        macs = math.prod(shape) * (math.prod(weight[1:]) if op != "MatMul" else weight[0])
    return Layer(node.name, op, shape, params, macs, _bytes(graph, node), problem)


def _fused(graph: Graph, node: Node) -> bool:
    """A Clip that its only producer's quantiser does."""
    before = graph.producers().get(node.inputs[0])
    return node.op in ("Clip", "Relu") and before is not None and graph.fusable(before)


def _bytes(graph: Graph, node: Node) -> int:
    if node.op == "Reshape" or _fused(graph, node):
        return 0
    return math.prod(graph.shapes.get(node.output, ())) if node.output in graph.shapes else 0


def _largest_pair(graph: Graph, nodes: list[Node]) -> Pair | None:
    pairs = []
    for node in nodes:
        inputs = dict.fromkeys(n for n in node.inputs if n and n not in graph.consts and n in graph.shapes)
        size = sum(math.prod(graph.shapes[name]) for name in inputs)
        if _bytes(graph, node):
            pairs.append(Pair(node.name, size, _bytes(graph, node)))
    return max(pairs, key=lambda pair: pair.input_bytes + pair.output_bytes, default=None)
