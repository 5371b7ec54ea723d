"""A quantised graph as onnxruntime runs it, with the quantised result of every layer in view.

`integer`: every operator between DequantizeLinear and QuantizeLinear is the integer kernel that onnxruntime has for it.
`default`: the graph as a session with default options optimises it. That form turns int8 activations into uint8 and
fuses only some of the patterns: around most residual sums, Conv and Add are left in float32. Its uint8 kernels add
pairs of products in saturating int16 on x86 without VNNI, so its integers are a reference on other machines only.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from layerwise import as_int8, integer_form

from .networks import Array

FORMS = ("integer", "default")
_CONTRIB = {"Add": "QLinearAdd", "GlobalAveragePool": "QLinearGlobalAveragePool"}
_Level = onnxruntime.GraphOptimizationLevel


class OnnxRuntime:
    """A session of one of the FORMS. `operators`: layer's name -> how onnxruntime computes it; `last`: the layer of the
    logits, whose grid they lie on."""

    def __init__(self, model: onnx.ModelProto, form: str) -> None:
        graph = integer_operators(model) if form == "integer" else optimised(model)
        self.whole = None if form == "integer" else _session(model, _Level.ORT_ENABLE_ALL)
        self.operators, self.tensors = _layers(graph)
        self.last = list(self.tensors)[-1]
        self.logit_scale, self.logit_zero = _grid(graph, self.tensors[self.last])
        known = {o.name for o in graph.graph.output}
        graph.graph.output.extend(
            helper.make_empty_tensor_value_info(t) for t in self.tensors.values() if t not in known
        )
        self.session = _session(graph, _Level.ORT_DISABLE_ALL)
        self.input, self.output = graph.graph.input[0].name, model.graph.output[0].name

    def layers(self, x: Array) -> dict[str, Array]:
        """int8 result of every layer for one sample (1, *)."""
        found = self.session.run(list(self.tensors.values()), {self.input: x})
        return {layer: as_int8(value) for layer, value in zip(self.tensors, found, strict=True)}

    def as_stored(self, logits: Array) -> Array:
        """The int8 integers of logits on the grid."""
        q: Array = np.rint(logits.astype(np.float64) / self.logit_scale) + self.logit_zero
        return q.astype(np.int8)

    def logits(self, x: Array) -> Array:
        """The graph's float32 output for one sample: of the session that nobody looks into, where that is another."""
        outputs: Array = (self.whole or self.session).run([self.output], {self.input: x})[0]
        return outputs.reshape(-1)


def _session(model: onnx.ModelProto, level: onnxruntime.GraphOptimizationLevel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads, options.graph_optimization_level = 3, 1, level
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def integer_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """`integer_form`, with Add and GlobalAveragePool as onnxruntime's integer operators, too."""
    made = integer_form(model)
    graph, makers = made.graph, {n.output[0]: n for n in made.graph.node}
    constants = {t.name: t for t in graph.initializer}
    nodes, dropped = [], set()
    for node in graph.node:
        readers = [n for n in graph.node if node.output[0] in n.input]
        if node.op_type not in _CONTRIB or [n.op_type for n in readers] != ["QuantizeLinear"]:
            nodes.append(node)
            continue
        operands = [i for name in node.input for i in makers[name].input]
        assert all(makers[name].op_type == "DequantizeLinear" for name in node.input), node.name
        inputs = [*operands, *readers[0].input[1:]]
        new = helper.make_node(_CONTRIB[node.op_type], inputs, readers[0].output, node.name, domain="com.microsoft")
        if node.op_type == "GlobalAveragePool":
            new.attribute.append(helper.make_attribute("channels_last", 0))
        for name in inputs:
            if name in constants and list(constants[name].dims) == [1]:
                del constants[name].dims[:]  # QLinearAdd wants scalars
        nodes.append(new)
        dropped.add(readers[0].output[0])
    kept = [n for n in nodes if n.op_type != "QuantizeLinear" or n.output[0] not in dropped]
    del graph.node[:]
    graph.node.extend(kept)
    return made


def optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxruntime's optimiser makes of the graph, but for layouts that are this machine's own."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "optimised.onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.optimized_model_filepath = 3, path
        options.graph_optimization_level = _Level.ORT_ENABLE_EXTENDED
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def _grid(model: onnx.ModelProto, tensor: str) -> tuple[float, int]:
    """Scale and int8 zero point by which the graph dequantises a tensor."""
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == tensor)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return float(constants[node.input[1]].reshape(())), int(as_int8(constants[node.input[2]].reshape(())))


def _layers(model: onnx.ModelProto) -> tuple[dict[str, str], dict[str, str]]:
    """Layer -> its operator, and layer -> its quantised result."""
    operators, tensors = {}, {}
    for node in model.graph.node:
        if node.op_type.startswith(("QLinear", "QGemm")):
            operators[node.name], tensors[node.name] = node.op_type, node.output[0]
        elif node.op_type in ("Conv", "Gemm", *_CONTRIB):
            readers = [n for n in model.graph.node if node.output[0] in n.input]
            if [n.op_type for n in readers] == ["QuantizeLinear"]:
                operators[node.name], tensors[node.name] = f"{node.op_type} in float32", readers[0].output[0]
    return operators, tensors
