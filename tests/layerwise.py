"""A compiled model beside onnxruntime, layer by layer.

Every layer is given onnxruntime's inputs, so that a difference of one in one layer says nothing about the next.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper

from emitted_models import Emitted, Watcher, quantised_input
from mcugrad.graph import Model

Array = npt.NDArray[Any]
EXACT = ("Conv", "Gemm")  # what a canonical graph calls a MatMul too
_THROUGH = ("Clip", "Relu", "Reshape")
_SUFFIXES = ("_quantized", "_real", "_float", "_QuantizeLinear_Input")


@dataclass
class Agreement:
    """Elements compared and differing by operator; `worst` is the largest difference in LSB with its layer.

    `alone` counts elements of layers that have no counterpart, since the compiler had moved a layout operator
    before them, or that read from such a layer. `outputs` is the largest difference of the graph's real outputs, when
    the last layer's integers are theirs, as a part of the largest of them.
    """

    elements: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    alone: int = 0
    outputs: float = 0.0
    worst: dict[str, tuple[int, str]] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps([dict(self.elements), dict(self.different), self.alone, self.outputs, self.worst])

    @classmethod
    def from_json(cls, text: str) -> Agreement:
        """What `to_json` wrote."""
        elements, different, alone, outputs, worst = json.loads(text)
        return cls(Counter(elements), Counter(different), alone, outputs, {op: tuple(w) for op, w in worst.items()})

    def add(self, op: str, where: str, ours: Array, theirs: Array) -> None:
        distance = np.abs(ours.astype(np.int32) - theirs.astype(np.int32))
        self.elements[op] += distance.size
        self.different[op] += int((distance > 0).sum())
        self.worst[op] = max(self.worst.get(op, (0, "")), (int(distance.max(initial=0)), where))

    def merge(self, other: Agreement) -> None:
        self.elements += other.elements
        self.different += other.different
        self.alone += other.alone
        self.outputs = max(self.outputs, other.outputs)
        for op, found in other.worst.items():
            self.worst[op] = max(self.worst.get(op, (0, "")), found)

    def problems(self) -> list[str]:
        """Conv and Gemm that differ at all, others that differ by more than one."""
        return [
            f"{op}: {distance} LSB in {where}"
            for op, (distance, where) in sorted(self.worst.items())
            if distance > (0 if op in EXACT else 1)
        ]

    def share(self, op: str) -> float:
        """Percent of equal elements."""
        return 100 * (1 - self.different[op] / self.elements[op])

    def text(self) -> str:
        """A line for each operator."""
        lines = [
            f"  {op:18} {count:10,d} elements  {self.share(op):8.4f} % equal  at most {self.worst[op][0]} LSB apart"
            for op, count in sorted(self.elements.items())
        ]
        return "\n".join([*lines, f"  no counterpart     {self.alone:10,d} elements"])


class Theirs:
    """onnxruntime on a graph in integer form: every quantised tensor as int8, by the name of the real one."""

    def __init__(self, model: onnx.ModelProto) -> None:
        names = quantised_tensors(model)
        copy = integer_form(model)
        self.final = copy.graph.output[0].name
        copy.graph.output.extend(helper.make_empty_tensor_value_info(q) for q in names.values() if q != self.final)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        # What is written is what runs: integer operators as such, everything else in float between Q and DQ.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=providers)
        self.names, self.input = names, copy.graph.input[0].name

    def run(self, x: Array) -> tuple[dict[str, Array], Array]:
        """int8 tensors (uint8 ones shifted) for one sample (1, *), and the graph's own output."""
        found = self.session.run([*self.names.values(), self.final], {self.input: x})
        return {name: as_int8(value) for name, value in zip(self.names, found[:-1], strict=True)}, found[-1]


def integer_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """DequantizeLinear, Conv or Gemm, QuantizeLinear become QLinearConv or QGemm, onnxruntime's integer kernels.

    A Relu or Clip before the QuantizeLinear stays, behind the integer kernel and between Q and DQ of the same grid,
    where it is exact. onnxruntime's optimiser does the same, but not where a quantised tensor is also an output of the
    graph, nor everywhere else: a float Conv rounds differently and does not wrap.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    makers = {n.output[0]: n for n in graph.node}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    nodes, dropped = [], set()
    for node in graph.node:
        sources = [makers.get(name) for name in node.input]
        q = _quantizer(node, users)
        if node.op_type not in EXACT or q is None or any(s is None or s.op_type != "DequantizeLinear" for s in sources):
            nodes.append(node)
            continue
        direct = q.input[0] == node.output[0]
        out = q.output[0] if direct else f"{node.output[0]}_integers"
        nodes.append(_integer_node(node, [s for s in sources if s is not None], q, out))
        if direct:
            dropped.add(q.output[0])
        else:
            nodes.append(helper.make_node("DequantizeLinear", [out, *q.input[1:]], [node.output[0]]))
    kept = [n for n in nodes if n.op_type != "QuantizeLinear" or n.output[0] not in dropped]
    del graph.node[:]
    graph.node.extend(kept)
    if "com.microsoft" not in {o.domain for o in made.opset_import}:
        made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


def _quantizer(node: onnx.NodeProto, users: dict[str, list[onnx.NodeProto]]) -> onnx.NodeProto | None:
    """The QuantizeLinear behind `node`, with nothing but a Relu or Clip in between."""
    following = users.get(node.output[0], [])
    while len(following) == 1 and following[0].op_type in ("Relu", "Clip"):
        following = users.get(following[0].output[0], [])
    return following[0] if len(following) == 1 and following[0].op_type == "QuantizeLinear" else None


def _integer_node(node: onnx.NodeProto, sources: list[onnx.NodeProto], q: onnx.NodeProto, out: str) -> onnx.NodeProto:
    x, w, *rest = sources
    bias = [b.input[0] for b in rest]
    if node.op_type == "Conv":
        new = helper.make_node("QLinearConv", [*x.input, *w.input, *q.input[1:], *bias], [out])
    else:
        inputs = [*x.input, *w.input, *(bias or [""]), *q.input[1:]]
        new = helper.make_node("QGemm", inputs, [out], domain="com.microsoft")
    new.name = node.name
    new.attribute.extend(a for a in node.attribute if a.name != "beta")
    return new


def as_int8(value: Array) -> Array:
    """uint8 shifted by 128, as the compiler does it."""
    return (value.astype(np.int16) - 128).astype(np.int8) if value.dtype == np.uint8 else value


def quantised_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """Real tensor -> its quantised one, for every activation of a QDQ or QOperator graph."""
    constants = {t.name for t in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        out = node.output[0]
        integers = node.op_type.startswith(("QLinear", "QGemm")) or out.endswith("_quantized")
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants:
            found[node.input[0]] = out
        elif integers and node.op_type != "DequantizeLinear":
            found[out] = out
    return {_plain(name): q for name, q in found.items()}


def _plain(name: str) -> str:
    """The float model's name of a tensor, without what quantisers and the compiler hang on to it."""
    for suffix in _SUFFIXES * 2:
        name = name.removesuffix(suffix)
    return name


def layer_tensors(canonical: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """Layer's name -> (its ONNX operator, the real tensor whose QuantizeLinear ends it)."""
    makers = {n.output[0]: n for n in canonical.graph.node}
    found = {}
    for q in canonical.graph.node:
        if q.op_type != "QuantizeLinear":
            continue
        real = _plain(q.input[0])
        found[q.name] = ("Requantize", real)
        node = makers.get(q.input[0])
        while node is not None:
            found.setdefault(node.name, (node.op_type, real))
            if node.op_type not in _THROUGH:
                break
            node = makers.get(node.input[0])
    return found


def compare(emitted: Emitted, model: Model, canonical: onnx.ModelProto, theirs: Theirs, x: Array) -> Agreement:
    """Runs x (n, *input) through both. Layers without a counterpart, and those they feed, are not compared."""
    layers, agreement = layer_tensors(canonical), Agreement()
    for sample, q in zip(x, quantised_input(model, x), strict=True):
        tensors, outputs = theirs.run(sample[None])
        found = emitted.predict(model.name, q, _watcher(tensors, layers, agreement))
        apart, largest = np.abs(found.ravel() - outputs.ravel()).max(), np.abs(outputs).max()
        agreement.outputs = max(agreement.outputs, float(apart / max(largest, 1e-30)))
    return agreement


def _watcher(tensors: dict[str, Array], layers: dict[str, tuple[str, str]], agreement: Agreement) -> Watcher:
    own: set[str] = set()  # layers whose output is our own

    def watch(layer: str, sources: set[str], ours: Array) -> Array | None:
        # Fused layers ("a+b") are one call, whose output is the last one's.
        op, real = layers[layer] if layer in layers else next(v for k, v in layers.items() if layer.endswith(f"+{k}"))
        expected = tensors.get(real)
        if expected is None:
            own.add(layer)
        if expected is None or sources & own:
            agreement.alone += ours.size
        else:
            agreement.add(op, f"layer '{layer}'", ours.reshape(-1), expected.reshape(-1))
        return expected

    return watch
