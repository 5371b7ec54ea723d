"""QOperator graphs (QLinearConv, com.microsoft.QLinearAdd, ...) become QDQ: float operators between Q and DQ nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from mcugrad.frontend.graph import Graph, Node, fail, from_model, to_model

# Operator -> (float operator, how many (tensor, scale, zero point) triples it takes before the output's scale).
_SIMPLE = {"QLinearMatMul": ("MatMul", 2), "QLinearAdd": ("Add", 2), "QLinearMul": ("Mul", 2)}
_UNARY = {
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearReduceMean": "ReduceMean",
    "QLinearSoftmax": "Softmax",
}
_OTHER = {"QLinearConv", "QGemm", "QLinearConcat"}
# Operators of ONNX itself that keep int8 values on their grid.
_KEEP_GRID = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Identity"}
_NOT_ONNX = ("channels_last", "opset")


def is_qoperator(node: Node) -> bool:
    """Whether the node is a quantised operator that convert_qoperators understands."""
    if node.domain == "com.microsoft" and node.op in ("QuantizeLinear", "DequantizeLinear"):
        return True
    return node.domain in ("", "com.microsoft") and (node.op in _SIMPLE or node.op in _UNARY or node.op in _OTHER)


def qoperator_to_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with every QLinear operator as DequantizeLinear -> float operator -> QuantizeLinear."""
    graph = from_model(model)
    convert_qoperators(graph)
    return to_model(graph, canonical=False)


def convert_qoperators(graph: Graph) -> None:
    """The in-place form of qoperator_to_qdq; leaves other nodes alone."""
    for node in list(graph.nodes):
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = ""
        elif is_qoperator(node):
            _Rewriter(graph, node).run()
        elif node.op == "Pad" and not node.domain:
            _convert_pad(graph, node)


def _convert_pad(graph: Graph, node: Node) -> None:
    """A Pad of integers fills with an integer, 0 if it names none; between Q and DQ it fills with the real number."""
    makers, source = graph.producers(), graph.producers().get(node.inputs[0])
    while source is not None and source.op in _KEEP_GRID:
        source = makers.get(source.inputs[0])
    if source is None or source.op != "QuantizeLinear" or node.attrs.get("mode", "constant") != "constant":
        return
    scale, zero = (graph.consts.get(source.input(i), np.zeros((), np.uint8)) for i in (1, 2))
    value = graph.consts.get(node.input(2), np.zeros((), zero.dtype))
    if scale.size != 1 or zero.size != 1 or value.size != 1:
        return
    count = float(value.reshape(())) - float(zero.reshape(()))
    real = graph.add_const(f"{node.output}_value", np.array(np.float32(count) * scale.reshape(()), np.float32))
    rewriter = _Rewriter(graph, node)
    x = rewriter.dequantize([node.inputs[0], source.inputs[1], source.input(2)])
    rewriter.emit("Pad", [x, node.inputs[1], real, *node.inputs[3:]], source.inputs[1:])
    graph.replace(node, rewriter.new)


class _Rewriter:
    """Collects the nodes that replace one QLinear operator."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node = graph, node
        self.new: list[Node] = []
        self.attrs: dict[str, Any] = {k: v for k, v in node.attrs.items() if k not in _NOT_ONNX}

    def run(self) -> None:
        if self.node.attrs.get("channels_last"):
            raise fail(self.node, "it computes channels-last", "export the graph with channels first")
        if self.node.op == "QLinearConv":
            self._conv()
        elif self.node.op == "QGemm":
            self._gemm()
        elif self.node.op == "QLinearConcat":
            triples = [self.node.inputs[i : i + 3] for i in range(2, len(self.node.inputs), 3)]
            self.emit("Concat", [self.dequantize(t) for t in triples], self.node.inputs[:2])
        elif self.node.op in _SIMPLE:
            op, count = _SIMPLE[self.node.op]
            matmul = self.node.op == "QLinearMatMul"
            inputs = [self.dequantize(self._triple(3 * i), axis=1 if matmul and i else None) for i in range(count)]
            self.emit(op, inputs, self.node.inputs[3 * count :])
        else:
            if self.node.op == "QLinearSoftmax" and self.node.attrs.get("opset", 13) < 13:
                raise fail(self.node, "it has the meaning of an opset below 13", "quantise the float model again")
            self.emit(_UNARY[self.node.op], [self.dequantize(self._triple(0))], self.node.inputs[3:])
        self.graph.replace(self.node, self.new)

    def _triple(self, at: int) -> list[str]:
        return [self.node.input(at), self.node.input(at + 1), self.node.input(at + 2)]

    def _conv(self) -> None:
        x, w = self.dequantize(self._triple(0)), self.dequantize(self._triple(3), axis=0)
        inputs = [x, w]
        if self.node.input(8):
            inputs.append(self._bias(self.node.input(8), self.node.input(1), self.node.input(4)))
        self.emit("Conv", inputs, self.node.inputs[6:8])

    def _gemm(self) -> None:
        axis = 0 if self.node.attrs.get("transB", 0) else 1
        inputs = [self.dequantize(self._triple(0)), self.dequantize(self._triple(3), axis=axis)]
        if self.node.input(6):
            alpha = float(self.attrs.get("alpha", 1.0))
            # QGemm scales (a*b + c) by alpha * a_scale * b_scale; Gemm's own alpha does not reach c.
            inputs.append(self._bias(self.node.input(6), self.node.input(1), self.node.input(4), alpha))
        self.emit("Gemm", inputs, self.node.inputs[7:])

    def _bias(self, name: str, x_scale: str, w_scale: str, alpha: float = 1.0) -> str:
        """int32 biases count in units of x_scale * w_scale; that scale becomes a constant of its own."""
        graph = self.graph
        if x_scale not in graph.consts or w_scale not in graph.consts or name not in graph.consts:
            raise fail(self.node, "its scales or bias are not constants", "export the quantised graph with fixed ones")
        scale = (graph.consts[x_scale] * graph.consts[w_scale] * np.float32(alpha)).astype(np.float32).reshape(-1)
        scale = np.broadcast_to(scale, (graph.consts[name].size,)) if scale.size > 1 else scale.reshape(())
        graph.consts[name] = graph.consts[name].reshape(-1)
        graph.shapes[name] = graph.consts[name].shape
        scale_name = graph.add_const(f"{name}_scale", np.array(scale))
        return self.dequantize([name, scale_name, ""], axis=0)

    def dequantize(self, triple: list[str], axis: int | None = None) -> str:
        graph = self.graph
        triple = [triple[0], self._vector(triple[1]), self._vector(triple[2])]
        name = graph.new_name(f"{triple[0]}_{self.node.name}_real")
        self._like(name, triple[0])
        per_axis = axis is not None and graph.consts.get(triple[1], np.zeros(())).ndim == 1
        attrs = {"axis": axis} if per_axis else {}
        self.new.append(Node("DequantizeLinear", graph.new_name(f"{name}/dequantize"), triple, [name], attrs))
        return name

    def _like(self, new: str, old: str) -> None:
        """`new` is a float tensor of the shape of `old`, where that is known."""
        self.graph.dtypes[new] = onnx.TensorProto.FLOAT
        if old in self.graph.shapes:
            self.graph.shapes[new] = self.graph.shapes[old]

    def _vector(self, name: str) -> str:
        """Scales come as scalars, (1), (n) or (1, n); DequantizeLinear wants scalars or (n)."""
        value = self.graph.consts.get(name)
        if value is None or value.ndim == 0 or (value.ndim == 1 and value.size > 1):
            return name
        return self.graph.add_const(name, value.reshape(-1) if value.size > 1 else value.reshape(()))

    def emit(self, op: str, inputs: list[str], out: list[str]) -> None:
        graph, node = self.graph, self.node
        if not out or not out[0]:  # QGemm without output scale leaves float
            self.new.append(Node(op, node.name, inputs, node.outputs, self.attrs))
            return
        real = graph.new_name(f"{node.output}_real")
        self._like(real, node.output)
        triple = [real, self._vector(out[0]), self._vector(out[1] if len(out) > 1 else "")]
        self.new.append(Node(op, node.name, inputs, [real], self.attrs))
        self.new.append(Node("QuantizeLinear", graph.new_name(f"{node.name}/quantize"), triple, list(node.outputs)))
