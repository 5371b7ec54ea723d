"""Which operators are accepted, in which form, and the sentence for each that is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx

from mcugrad.errors import McugradError
from mcugrad.frontend.constants import FOLDABLE
from mcugrad.frontend.graph import Graph, Node

_TYPES = onnx.TensorProto
# An activation this large does not fit any target; it also bounds what later stages allocate.
_MAX_ACTIVATION = 1 << 24
Rule = Callable[[Graph, Node], "tuple[str, str] | None"]


@dataclass(frozen=True)
class Problem:
    """Why a node cannot be compiled, and what to do instead."""

    node: str
    op: str
    reason: str
    advice: str

    @property
    def text(self) -> str:
        """For whom the node has been named already."""
        return f"{self.reason}; {self.advice}"

    def error(self) -> McugradError:
        """The sentence that the user sees."""
        return McugradError(f"node '{self.node}' ({self.op}): {self.text}")


_HINTS = {
    "Sigmoid": "use Relu, or Clip, in its place and train the model with it",
    "HardSigmoid": "use Relu, or Clip, in its place and train the model with it",
    "HardSwish": "use Relu6 in its place and train the model with it",
    "Gelu": "use Relu in its place and train the model with it",
    "Erf": "this looks like Gelu: use Relu in its place and train the model with it",
    "Tanh": "use Clip (hardtanh) in its place and train the model with it",
    "PRelu": "use LeakyRelu in its place",
    "ConvTranspose": "upsampling is not supported: use a network that only reduces resolution",
    "LSTM": "recurrence is not supported: use 1-D convolutions over the window",
    "GRU": "recurrence is not supported: use 1-D convolutions over the window",
    "InstanceNormalization": "use BatchNormalization, which is folded into the convolution",
    "LayerNormalization": "use BatchNormalization, which is folded into the convolution",
    "GroupNormalization": "use BatchNormalization, which is folded into the convolution",
    "ConvInteger": "dynamic quantisation is not supported: use mcugrad quantize on the float model",
    "MatMulInteger": "dynamic quantisation is not supported: use mcugrad quantize on the float model",
    "DynamicQuantizeLinear": "dynamic quantisation is not supported: use mcugrad quantize on the float model",
}


def _constant_input(index: int, what: str) -> Rule:
    def rule(graph: Graph, node: Node) -> tuple[str, str] | None:
        if node.input(index) and not _is_constant(graph, node.input(index)):
            return f"its {what} is computed, not a constant", "export the model with fixed parameters"
        return None

    return rule


def _is_constant(graph: Graph, name: str) -> bool:
    producer = graph.producers().get(name)
    if producer is not None and producer.op in ("DequantizeLinear", "QuantizeLinear"):
        return _is_constant(graph, producer.inputs[0])
    return name in graph.consts


def _rank(*ranks: int) -> Rule:
    def rule(graph: Graph, node: Node) -> tuple[str, str] | None:
        rank = len(graph.shapes.get(node.inputs[0], ()))
        if node.inputs[0] in graph.shapes and rank not in ranks:
            return f"its input has {rank} dimensions", f"only {' or '.join(map(str, ranks))} (with batch) are supported"
        return None

    return rule


def _attribute(name: str, accepted: tuple[object, ...], default: object) -> Rule:
    def rule(graph: Graph, node: Node) -> tuple[str, str] | None:
        value = node.attrs.get(name, default)
        if value not in accepted:
            return f"attribute {name}={value!r} is not supported", f"use {name}={accepted[0]!r}"
        return None

    return rule


def _one_output(graph: Graph, node: Node) -> tuple[str, str] | None:
    extra = [name for name in node.outputs[1:] if name and (name in graph.consumers() or name in graph.outputs)]
    if extra:
        return f"its extra output '{extra[0]}' is used", "only the first output is supported"
    return None


def _plain_average(graph: Graph, node: Node) -> tuple[str, str] | None:
    if any(d != 1 for d in node.attrs.get("dilations", [])):
        return "a dilated average", "use dilation 1"
    return None


def _one_constant(graph: Graph, node: Node) -> tuple[str, str] | None:
    names = node.inputs
    if len(names) == 2 and sum(_is_constant(graph, name) for name in names) == 1:
        return None
    return "it combines two activations", "only Add does that; a constant operand is folded into the layer before"


def _same_shapes(graph: Graph, node: Node) -> tuple[str, str] | None:
    shapes = [graph.shapes.get(name) for name in node.inputs]
    if any(_is_constant(graph, name) for name in node.inputs) or None in shapes or len(set(shapes)) == 1:
        return None
    return f"it broadcasts {shapes[0]} with {shapes[1]}", "make both operands the same shape"


def _same_size(graph: Graph, node: Node) -> tuple[str, str] | None:
    before, after = (graph.shapes.get(name) for name in (node.inputs[0], node.outputs[0]))
    if before is None or after is None or math.prod(before) == math.prod(after):
        return None
    return f"it makes {after} of {before}, with batch 1", "export the model with batch 1 or a dynamic batch"


def _not_batch(graph: Graph, node: Node) -> tuple[str, str] | None:
    rank = len(graph.shapes.get(node.outputs[0], ()))
    if rank > 1 and node.attrs.get("axis", 1) in (0, -rank):
        return "it joins along the batch", "join along another axis"
    if any(name in graph.consts for name in node.inputs):
        return "one of its operands is a constant", "concatenate activations only"
    return None


def _no_crop(graph: Graph, node: Node) -> tuple[str, str] | None:
    amounts = graph.consts.get(node.input(1))
    if amounts is not None and (amounts < 0).any():
        reason = f"its amounts {amounts.reshape(-1).tolist()} crop the tensor"
        return reason, "crop the network's input, or choose strides and paddings that end at the wanted size"
    return None


def _at_end(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Softmax is computed in float behind the classifier; inside the network (attention) it is not supported."""
    wanted, uses = [node.outputs[0]], graph.consumers()
    while wanted:
        for user in uses.get(wanted.pop(), []):
            if user.op not in _LAYOUT | {"QuantizeLinear", "DequantizeLinear"}:
                return f"it is followed by '{user.name}' ({user.op})", "it is supported as the last operator only"
            wanted.extend(user.outputs)
    return None


_LAYOUT = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
_AXES = _constant_input(1, "axes")
_CONV: tuple[Rule, ...] = (_rank(3, 4), _constant_input(1, "weight"), _constant_input(2, "bias"))
_OPERATORS: dict[str, tuple[Rule, ...]] = {
    "Conv": _CONV,
    "Gemm": (_constant_input(1, "weight"),),
    "MatMul": (_constant_input(1, "weight"),),
    "BatchNormalization": (
        _attribute("training_mode", (0,), 0),
        _one_output,
        *(_constant_input(i, "parameter") for i in range(1, 5)),
    ),
    "Relu": (),
    "Clip": (_constant_input(1, "minimum"), _constant_input(2, "maximum")),
    "LeakyRelu": (),
    "Add": (_same_shapes,),
    "Sub": (_one_constant,),
    "Mul": (_one_constant,),
    "Div": (_one_constant, _constant_input(1, "divisor")),
    "Min": (_one_constant,),
    "Max": (_one_constant,),
    "Concat": (_not_batch,),
    "MaxPool": (_rank(3, 4), _one_output),
    "AveragePool": (_rank(3, 4), _plain_average),
    "GlobalAveragePool": (_rank(3, 4),),
    "GlobalMaxPool": (_rank(3, 4),),
    "ReduceMean": (_AXES,),
    "Flatten": (),
    "Reshape": (_constant_input(1, "target shape"), _same_size),
    "Squeeze": (_AXES,),
    "Unsqueeze": (_AXES,),
    "Transpose": (),
    "Pad": (
        _attribute("mode", ("constant",), "constant"),
        _constant_input(1, "padding"),
        _no_crop,
        _constant_input(2, "value"),
        _constant_input(3, "axes"),
    ),
    "Softmax": (_at_end,),
    "LogSoftmax": (_at_end,),
    "QuantizeLinear": (_constant_input(1, "scale"), _constant_input(2, "zero point")),
    "DequantizeLinear": (_constant_input(1, "scale"), _constant_input(2, "zero point")),
    "Identity": (),
    "Dropout": (_one_output,),
    "Cast": (),
}


def known(node: Node) -> bool:
    """Whether the operator is accepted in some form, be it only on constants."""
    return node.domain == "" and (node.op in _OPERATORS or node.op in FOLDABLE)


def problem(graph: Graph, node: Node) -> Problem | None:
    """Why `node` cannot be compiled; None if it can. Run it after constants are folded."""
    if node.domain or node.op not in _OPERATORS:
        name = f"{node.domain}.{node.op}" if node.domain else node.op
        advice = _HINTS.get(node.op, "compile a model without it")
        return Problem(node.name, node.op, f"operator {name} is not supported", advice)
    kind = _type_problem(graph, node)
    if kind is not None:
        return Problem(node.name, node.op, *kind)
    for rule in _OPERATORS[node.op]:
        found = rule(graph, node)
        if found is not None:
            return Problem(node.name, node.op, *found)
    return None


def problems(graph: Graph) -> list[Problem]:
    """Every reason why the graph cannot be compiled, in the order of its nodes."""
    found = [problem(graph, node) for node in graph.nodes]
    return [item for item in found if item is not None]


def _type_problem(graph: Graph, node: Node) -> tuple[str, str] | None:
    if node.op in ("Dropout", "Cast"):  # those that change nothing have been folded away
        if node.op == "Dropout":
            return "it is active", "only inference graphs are accepted: call model.eval() before export"
        return "it changes the type", "keep float32 throughout"
    quantised = {_TYPES.INT8, _TYPES.UINT8}
    for name in [*node.inputs, *node.outputs]:
        if not name or name in graph.consts or (node.op == "DequantizeLinear" and name != node.outputs[0]):
            continue
        kind = graph.dtypes.get(name, _TYPES.FLOAT)
        if kind != _TYPES.FLOAT and not (kind in quantised and node.op in {"QuantizeLinear", *_LAYOUT, "MaxPool"}):
            return (
                f"tensor '{name}' has the type {_TYPES.DataType.Name(kind).lower()}",
                "activations must be float32, or int8 or uint8 between QuantizeLinear and DequantizeLinear",
            )
        if math.prod(graph.shapes.get(name, ())) > _MAX_ACTIVATION:
            return f"tensor '{name}' has more than {_MAX_ACTIVATION:,} elements", "use a smaller input"
    return None
