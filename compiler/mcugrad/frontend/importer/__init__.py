"""QDQ ONNX  becomes  Relax of int8 operators: DequantizeLinear -> op -> QuantizeLinear is one operator here.

The walk is in the graph's order. A result is *pending* until its QuantizeLinear says on which grid it lives; Relu and
Clip in between narrow the range. We do not use TVM's own importer: it forgets the node names that training schemes and
error messages are about, and rewrites QDQ chains into float operators that would have to be matched back.
"""

from __future__ import annotations

import onnx

from mcugrad.errors import McugradError
from mcugrad.frontend.importer import elementwise, grids, layers, tensors
from mcugrad.frontend.importer.walk import Handler, Walk
from mcugrad.graph import Model

HANDLERS: dict[str, Handler] = {**grids.HANDLERS, **layers.HANDLERS, **elementwise.HANDLERS, **tensors.HANDLERS}


def import_model(graph_model: onnx.ModelProto, name: str, *, float_head: bool, int8_head: bool = False) -> Model:
    """The typed Relax model of a canonical QDQ graph.

    A final Gemm or 1x1 Conv keeps the type it has in the graph; `float_head` makes it float32, `int8_head` int8.

    Raises McugradError naming the node that is not quantised or not supported.
    """
    return Walk(graph_model, name, float_head=float_head, int8_head=int8_head).run(_visit)


def _visit(walk: Walk, node: onnx.NodeProto) -> None:
    handler = HANDLERS.get(node.op_type)
    if handler is None:
        raise McugradError(f"node '{node.name}': operator {node.op_type} is not supported in a quantised graph")
    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    walk.values[node.output[0]] = handler(walk, node, attrs)
