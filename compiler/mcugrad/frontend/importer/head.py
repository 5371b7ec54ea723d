"""Finding the classifier: the last Gemm or 1x1 Conv, with nothing after it but layout, Q/DQ and a softmax."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

_AFTER = {
    "QuantizeLinear",
    "DequantizeLinear",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Identity",
    "Softmax",
    "LogSoftmax",
}


def head_node(graph: onnx.GraphProto) -> str:
    """Name of the classifier's node, "" if there is none."""
    makers = {o: n for n in graph.node for o in n.output}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in _AFTER:
        node = makers.get(node.input[0])
    return node.name if node is not None and _is_classifier(graph, node) else ""


def is_quantised_after(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether the classifier's output goes through a QuantizeLinear on its way out."""
    makers = {o: n for n in graph.node for o in n.output}
    last = makers[graph.output[0].name]
    while last.name != node.name:
        if last.op_type == "QuantizeLinear":
            return True
        last = makers[last.input[0]]
    return False


def _is_classifier(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    if node.op_type == "Gemm":
        return True
    if node.op_type != "Conv":
        return False
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return groups == 1 and _kernel_is_one(graph, node) and _positions(graph, node.output[0]) == 1


def _kernel_is_one(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    makers = {o: n for n in graph.node for o in n.output}
    name = node.input[1]
    while name in makers and makers[name].op_type == "DequantizeLinear":
        name = makers[name].input[0]
    weight = next((numpy_helper.to_array(t) for t in graph.initializer if t.name == name), None)
    return weight is not None and all(d == 1 for d in weight.shape[2:])


def _positions(graph: onnx.GraphProto, name: str) -> int:
    """Spatial positions of a tensor, 0 when its shape is not known."""
    infos = (*graph.value_info, *graph.output)
    info = next((i for i in infos if i.name == name), None)
    if info is None:
        return 0
    count = 1
    for dim in info.type.tensor_type.shape.dim[2:]:
        count *= dim.dim_value
    return count
