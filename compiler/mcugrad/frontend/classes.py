"""A fresh classifier with another number of outputs on an existing network."""

from __future__ import annotations

import numpy as np
import onnx

from mcugrad.errors import McugradError
from mcugrad.frontend.graph import Graph, Node
from mcugrad.frontend.normalise import canonical_graph, write

_TAIL = ("Reshape", "Softmax", "LogSoftmax")


def replace_classifier(model: onnx.ModelProto, n_classes: int) -> onnx.ModelProto:
    """The prepared model with its final Gemm (or 1x1 Conv on one position) replaced by a zero one of n_classes outputs.

    The new weight and bias are float32; in a QDQ model they work on the dequantised features and the outputs are
    float32. The layer keeps its name. Raises McugradError if the model does not end in a classifier.
    """
    if n_classes < 1:
        raise McugradError(f"{n_classes} classes; give --classes a number from 1")
    graph = canonical_graph(model)
    head, tail = _head(graph)
    inputs = graph.shapes[head.inputs[1]][1]
    graph.set_const(head, 1, f"{head.name}.weight", np.zeros((n_classes, inputs), np.float32))
    graph.set_const(head, 2, f"{head.name}.bias", np.zeros(n_classes, np.float32))
    graph.shapes[head.output] = (1, n_classes)
    graph.quant.pop(head.output, None)
    for node in tail:
        graph.quant.pop(node.output, None)
        if node.op not in ("Softmax", "LogSoftmax"):
            graph.drop(node)
        else:
            graph.shapes[node.output] = (1, n_classes)
    for name in graph.outputs:
        graph.quant.pop(name, None)
    graph.tidy()
    return write(graph)


def _is_offset(graph: Graph, node: Node) -> bool:
    """The depthwise 1x1 Conv on one position that a quantised MatMul's separate bias has become."""
    return node.op == "Conv" and graph.shapes[node.inputs[1]][1:] == (1, 1) and graph.shapes[node.output][2:] == (1,)


def _head(graph: Graph) -> tuple[Node, list[Node]]:
    """The classifier and what follows it, in order."""
    producers, tail = graph.producers(), []
    node = producers.get(graph.outputs[0])
    while node is not None and (node.op in (*_TAIL, "Requantize") or _is_offset(graph, node)):
        tail.append(node)
        node = producers.get(node.inputs[0])
    if node is None or node.op != "Gemm":
        found = f"'{node.name}' ({node.op})" if node is not None else "nothing"
        raise McugradError(
            f"the model ends in {found}, not in a Gemm or a 1x1 Conv on one position; --classes replaces only such a "
            "classifier, give a model that ends in one"
        )
    if graph.only_consumer(node.output) is None and tail:
        raise McugradError(f"node '{node.name}' ({node.op}): its output is used twice; --classes cannot replace it")
    return node, tail[::-1]
