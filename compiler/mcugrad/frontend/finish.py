"""Internal forms become ONNX operators of the canonical opset."""

from __future__ import annotations

import math

import numpy as np

from mcugrad.frontend.graph import Graph, Node

_LIMIT = float(np.finfo(np.float32).max)


def finish(graph: Graph) -> None:
    """Writes limits, shapes and paddings as the constant inputs that ONNX wants, in place."""
    for node in graph.nodes:
        if node.op == "Clip":
            _clip(graph, node)
        elif node.op in ("Reshape", "Identity"):
            node.op, node.attrs = "Reshape", {}
            target = np.array(graph.shapes[node.output], np.int64)
            node.inputs = [node.inputs[0], graph.add_const(f"{node.name}.shape", target)]
        elif node.op == "Pad":
            pads = graph.add_const(f"{node.name}.pads", np.array(node.attrs["pads"], np.int64))
            value = graph.add_const(f"{node.name}.value", np.array(node.attrs["value"], np.float32))
            node.inputs, node.attrs = [node.inputs[0], pads, value], {"mode": "constant"}
        elif node.op == "Gemm":
            node.attrs = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}


def _clip(graph: Graph, node: Node) -> None:
    low, high = node.attrs["min"], node.attrs["max"]
    node.attrs = {}
    if low == 0 and high == math.inf:
        node.op = "Relu"
        return
    lowest = graph.add_const(f"{node.name}.min", np.array(max(low, -_LIMIT), np.float32))
    highest = graph.add_const(f"{node.name}.max", np.array(min(high, _LIMIT), np.float32))
    node.inputs = [node.inputs[0], lowest, highest]
