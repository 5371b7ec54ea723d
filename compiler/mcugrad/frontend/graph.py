"""A small mutable view of an ONNX graph that the frontend's passes rewrite; ModelProto goes in and comes out.

Constants are numpy arrays, every tensor's shape is static and known. Quantisation is an annotation, not nodes: `quant`
holds the int8 parameters of an activation, `stored` the integers behind a constant (see qdq.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from mcugrad.errors import McugradError

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
# The one opset and IR version that every prepared graph has.
CANONICAL_OPSET, CANONICAL_IR = 17, 8
# Constants up to this many elements may steer shapes (Reshape, Slice); larger ones only slow shape inference down.
_SHAPE_CONSTANT = 256


@dataclass(frozen=True)
class QuantParams:
    """Real value = (q - zero_point) * scale of an int8 activation; scale is a float32 > 0."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Stored:
    """The integers behind a dequantised constant: real = (q - zero) * scale, all three of the constant's shape."""

    q: Array
    scale: Array
    zero: Array

    def map(self, fn: Callable[[Array], Array]) -> Stored:
        """The same rearrangement (transpose, reshape, permutation) applied to all three arrays."""
        return Stored(fn(self.q), fn(self.scale), fn(self.zero))


@dataclass(eq=False)
class Node:
    """One operator; an absent optional input is ''."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    domain: str = ""

    def input(self, index: int) -> str:
        """Name of input `index`, '' when it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    @property
    def output(self) -> str:
        """Name of the first output."""
        return self.outputs[0]


def fail(node: Node, reason: str, advice: str) -> McugradError:
    """The error about one node: its name, its op, the reason, what to do."""
    return McugradError(f"node '{node.name}' ({node.op}): {reason}; {advice}")


@dataclass(eq=False)
class Graph:
    """Nodes in topological order over named tensors."""

    name: str
    opset: int
    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    consts: dict[str, Array]
    shapes: dict[str, Shape]
    dtypes: dict[str, int]
    quant: dict[str, QuantParams] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)  # names given out so far
    dims: dict[str, list[int | str]] = field(default_factory=dict)  # of the inputs as the file declares them

    # ---- looking ----------------------------------------------------------------------------------------------------
    def producers(self) -> dict[str, Node]:
        """Tensor -> the node that makes it."""
        return {out: node for node in self.nodes for out in node.outputs if out}

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor -> the nodes that read it (a node that reads it twice is listed once)."""
        uses: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    uses.setdefault(name, []).append(node)
        return uses

    def only_consumer(self, tensor: str) -> Node | None:
        """The node that alone reads `tensor`; None if there are others or the tensor leaves the graph."""
        uses = [node for node in self.nodes if tensor in node.inputs]
        return uses[0] if len(uses) == 1 and tensor not in self.outputs else None

    def fusable(self, producer: Node) -> bool:
        """Whether `producer`'s output is seen by one node only and is never rounded to int8."""
        return self.only_consumer(producer.output) is not None and producer.output not in self.quant

    def has_name(self, name: str) -> bool:
        """Whether a node or a tensor is called `name`."""
        return name in self._names()

    def new_name(self, base: str) -> str:
        """A name like `base` that no node and no tensor has."""
        taken = self._names()
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        self.reserved.add(name)
        return name

    def _names(self) -> set[str]:
        taken = {*self.reserved, *self.inputs, *self.outputs, *self.consts, *self.shapes, *self.dtypes}
        for node in self.nodes:
            taken.update(node.outputs, [node.name])
        return taken

    # ---- changing ---------------------------------------------------------------------------------------------------
    def add_const(self, base: str, value: Array) -> str:
        """A new constant; returns its name."""
        name = self.new_name(base)
        self.consts[name] = value
        self.shapes[name] = tuple(value.shape)
        self.dtypes[name] = helper.np_dtype_to_tensor_dtype(value.dtype)
        return name

    def add_tensor(self, base: str, shape: Shape, quant: QuantParams | None = None) -> str:
        """A new float32 activation without a producer yet; returns its name."""
        name = self.new_name(base)
        self.shapes[name] = shape
        self.dtypes[name] = onnx.TensorProto.FLOAT
        if quant is not None:
            self.quant[name] = quant
        return name

    def map_const(self, node: Node, index: int, fn: Callable[[Array], Array]) -> None:
        """Rearranges the constant that is input `index` of `node`, for this node only."""
        old = node.inputs[index]
        shared = self.only_consumer(old) is not node or node.inputs.count(old) > 1
        value, stored = fn(self.consts[old]), self.stored.get(old)
        name = self.add_const(old, value) if shared else old
        self.consts[name], self.shapes[name] = value, tuple(value.shape)
        if stored is not None:
            self.stored[name] = stored.map(fn)
        node.inputs[index] = name

    def set_const(self, node: Node, index: int, base: str, value: Array) -> None:
        """Gives `node` a constant of its own as input `index`."""
        while len(node.inputs) <= index:
            node.inputs.append("")
        node.inputs[index] = self.add_const(base, value)

    def replace(self, node: Node, new: Iterable[Node]) -> None:
        """Puts `new` in the place of `node`."""
        at = self.nodes.index(node)
        self.nodes[at : at + 1] = list(new)

    def drop(self, node: Node) -> None:
        """Removes `node`, whose first output is its first input."""
        self.nodes.remove(node)
        self.alias(node.output, node.inputs[0])

    def alias(self, old: str, new: str) -> None:
        """Makes every reader of `old` (which has no producer any more) read `new`; a graph output keeps its name."""
        self.quant.pop(old, None)
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
        if old not in self.outputs:
            return
        if new in self.outputs or new in self.inputs or new in self.consts:
            node = Node("Identity", self.new_name(f"{old}/identity"), [new], [old])
            self.nodes.append(node)
            if new in self.quant:
                self.quant[old] = self.quant[new]
        else:
            self.rename(new, old)

    def rename(self, old: str, new: str) -> None:
        """Gives the activation `old` the free name `new`."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        self.shapes[new], self.dtypes[new] = self.shapes.pop(old), self.dtypes.pop(old)
        if old in self.quant:
            self.quant[new] = self.quant.pop(old)

    def tidy(self) -> None:
        """Drops what no output needs and restores topological order, keeping the given order where it is free."""
        producers, wanted = self.producers(), list(self.outputs)
        live: set[int] = set()
        while wanted:
            node = producers.get(wanted.pop())
            if node is not None and id(node) not in live:
                live.add(id(node))
                wanted.extend(name for name in node.inputs if name)
        self.nodes = _sorted([node for node in self.nodes if id(node) in live])
        used = {name for node in self.nodes for name in node.inputs} | set(self.outputs)
        self.consts = {name: value for name, value in self.consts.items() if name in used}
        self.stored = {name: value for name, value in self.stored.items() if name in used}
        self.reserved = set()
        alive = used | set(self.inputs) | {name for node in self.nodes for name in node.outputs}
        self.shapes = {name: shape for name, shape in self.shapes.items() if name in alive}
        self.dtypes = {name: kind for name, kind in self.dtypes.items() if name in alive}
        self.quant = {name: params for name, params in self.quant.items() if name in alive}


def _sorted(nodes: list[Node]) -> list[Node]:
    producers = {out: node for node in nodes for out in node.outputs if out}
    done: dict[int, Node] = {}
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            before = [producers[name] for name in node.inputs if name in producers]
            missing = [other for other in before if id(other) not in done]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            done.setdefault(id(node), node)
    return list(done.values())


# ---- ModelProto -> Graph -> ModelProto ------------------------------------------------------------------------------
def _attribute(attr: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attr)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def from_model(model: onnx.ModelProto) -> Graph:
    """The graph of a model whose shapes are static; nodes get unique names. Raises McugradError."""
    graph = model.graph
    consts = {init.name: numpy_helper.to_array(init) for init in graph.initializer}
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    nodes = [
        Node(n.op_type, n.name, list(n.input), list(n.output), {a.name: _attribute(a) for a in n.attribute}, n.domain)
        for n in graph.node
    ]
    for node in nodes:
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    _name_nodes(nodes)
    result = Graph(
        graph.name or "graph",
        opset,
        [v.name for v in graph.input if v.name not in consts],
        [v.name for v in graph.output],
        nodes,
        consts,
        {},
        {},
    )
    for value in [*graph.input, *graph.output, *graph.value_info]:
        _record(result, value)
    for value in graph.input:
        if value.name not in consts and value.type.tensor_type.HasField("shape"):
            result.dims[value.name] = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
    for name, array in consts.items():
        result.shapes[name] = tuple(array.shape)
        result.dtypes[name] = helper.np_dtype_to_tensor_dtype(array.dtype)
    return result


def _record(graph: Graph, value: onnx.ValueInfoProto) -> None:
    tensor = value.type.tensor_type
    if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
        graph.shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
    graph.dtypes[value.name] = tensor.elem_type


def _name_nodes(nodes: list[Node]) -> None:
    """Unnamed nodes become op_index, second holders of a name get _2, _3: names are what training schemes refer to."""
    taken = {node.name for node in nodes}
    seen: set[str] = set()
    for index, node in enumerate(nodes):
        base = name = node.name or f"{node.op}_{index}"
        count = 1
        while name in seen or (name in taken and name != node.name):
            count += 1
            name = f"{base}_{count}"
        node.name = name
        seen.add(name)


def _to_proto(node: Node) -> onnx.NodeProto:
    inputs = list(node.inputs)
    while inputs and not inputs[-1]:
        inputs.pop()
    attrs = {key: value for key, value in node.attrs.items() if value is not None and not key.startswith("_")}
    proto = helper.make_node(node.op, inputs, node.outputs, name=node.name, domain=node.domain)
    # Empty lists need their type said (make_node cannot guess it).
    proto.attribute.extend(helper.make_attribute(k, v, attr_type=7 if v == [] else None) for k, v in attrs.items())
    return proto


def to_model(graph: Graph, *, canonical: bool = True) -> onnx.ModelProto:
    """A ModelProto with every known shape in value_info; `canonical` writes the one opset of prepared graphs."""
    infos = {
        name: helper.make_tensor_value_info(name, graph.dtypes.get(name, 1), shape)
        for name, shape in graph.shapes.items()
        if name not in graph.consts
    }
    proto = helper.make_graph(
        [_to_proto(node) for node in graph.nodes],
        graph.name,
        [infos[name] for name in graph.inputs],
        [infos.get(name, helper.make_tensor_value_info(name, 1, None)) for name in graph.outputs],
        [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in graph.consts.items()],
        value_info=[infos[n] for n in _inner_tensors(graph) if n in infos],
    )
    domains = sorted({node.domain for node in graph.nodes} | {""})
    opset = CANONICAL_OPSET if canonical else graph.opset
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid(d, opset if d == "" else 1) for d in domains], producer_name="mcugrad"
    )
    model.ir_version = CANONICAL_IR if canonical else helper.find_min_ir_version_for(model.opset_import, True)
    return model


def _inner_tensors(graph: Graph) -> list[str]:
    outer = {*graph.inputs, *graph.outputs}
    return [out for node in graph.nodes for out in node.outputs if out and out not in outer]


def infer(graph: Graph, *, strict: bool = True) -> None:
    """Fills shapes and dtypes of every tensor by ONNX's own inference. Raises McugradError."""
    model = to_model(graph, canonical=False)
    big = [name for name, value in graph.consts.items() if value.size > _SHAPE_CONSTANT]
    kept = [init for init in model.graph.initializer if init.name not in big]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.input.extend(
        helper.make_tensor_value_info(name, graph.dtypes[name], graph.shapes[name]) for name in big
    )
    for value in [*model.graph.output]:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=strict, strict_mode=strict, data_prop=True)
    except Exception as error:
        text = " ".join(str(error).split())
        raise McugradError(f"the graph's shapes do not fit together with batch 1: {text}; export it again") from error
    graph.shapes = {name: s for name, s in graph.shapes.items() if name in graph.consts or name in graph.inputs}
    for value in [*inferred.graph.output, *inferred.graph.value_info]:
        _record(graph, value)
