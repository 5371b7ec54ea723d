"""Trained parameters back into the QDQ graph that they came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
_INPUT = {"weight": 1, "bias": 2}  # of Conv and Gemm


@dataclass(frozen=True)
class Trained:
    """`value` of a layer's `what`, "weight" or "bias", channels in ONNX's order: int8 OIHW and int32, which `scale`
    (one per output channel) turns into reals, or float32 (out, in) and (out,) of a classifier."""

    layer: str
    what: str
    value: Array
    scale: Array


def write_back(model: onnx.ModelProto, trained: Iterable[Trained]) -> onnx.ModelProto:
    """A copy of the canonical `model` with these values. Everything else stays, but for the QuantizeLinear behind a
    classifier that is float32 now: its outputs are real on the device."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    editor = _Editor(result.graph)
    for one in trained:
        editor.write(one)
    editor.drop_unread()
    return result


class _Editor:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.layers = {n.name: n for n in graph.node}
        self.constants = {t.name: t for t in graph.initializer}

    def write(self, one: Trained) -> None:
        node, place = self.layers[one.layer], _INPUT[one.what]
        while len(node.input) <= place:
            node.input.append("")
        value = self._as_stored(node, place, one.value)
        if value.dtype == np.float32:
            node.input[place] = self._add(f"{one.layer}.{one.what}", value)
            self._unquantize(node)
        elif not self._replace(node.input[place], value):
            node.input[place] = self._dequantized(node, f"{one.layer}.{one.what}", value, one.scale)

    def _as_stored(self, node: onnx.NodeProto, place: int, value: Array) -> Array:
        """In the shape that the operator reads: Conv's of its rank, Gemm's (out, in)."""
        if place == 2:
            return value
        window = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
        return value.reshape(*value.shape[:2], *window)

    def _replace(self, name: str, value: Array) -> bool:
        """Puts integers where integers are, if nobody else reads them."""
        maker = self._maker(name)
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in self.constants:
            return False
        stored = self.constants[maker.input[0]]
        kind = helper.tensor_dtype_to_np_dtype(stored.data_type)
        shared = len(self._readers(name)) + len(self._readers(maker.input[0])) > 2
        if shared or tuple(stored.dims) != value.shape or kind not in (np.uint8, value.dtype):
            return False
        if kind == np.uint8:
            value = (value.astype(np.int16) + 128).astype(np.uint8)
        stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), stored.name))
        return True

    def _dequantized(self, node: onnx.NodeProto, name: str, value: Array, scale: Array) -> str:
        names = [self._add(f"{name}_q", value), self._add(f"{name}_scale", scale.astype(np.float32))]
        real = self._fresh(f"{name}_dq")
        made = helper.make_node("DequantizeLinear", names, [real], self._fresh(f"{name}/dequantize"), axis=0)
        self.graph.node.insert(list(self.graph.node).index(node), made)
        return real

    def _unquantize(self, node: onnx.NodeProto) -> None:
        """Takes a QuantizeLinear and its DequantizeLinear out of the way from `node` to the output."""
        tensor = node.output[0]
        while readers := self._readers(tensor):
            (reader,) = readers
            if reader.op_type != "QuantizeLinear":
                tensor = reader.output[0]
                continue
            (back,) = self._readers(reader.output[0])
            self._rename(back.output[0], tensor)
            for gone in (reader, back):
                self.graph.node.remove(gone)

    def _rename(self, old: str, new: str) -> None:
        """Who reads `old` reads `new`; the graph's output keeps its name."""
        if any(o.name == old for o in self.graph.output):
            maker = self._maker(new)
            assert maker is not None
            maker.output[list(maker.output).index(new)] = old
            new = old
        for reader in self._readers(old):
            reader.input[list(reader.input).index(old)] = new

    def drop_unread(self) -> None:
        """Constants, and what dequantised them, that nothing reads any more."""
        outputs = {o.name for o in self.graph.output}
        while unread := [n for n in self.graph.node if not any(o in outputs or self._readers(o) for o in n.output)]:
            for node in unread:
                self.graph.node.remove(node)
        read = {name for node in self.graph.node for name in node.input}
        for tensor in [t for t in self.graph.initializer if t.name not in read]:
            self.graph.initializer.remove(tensor)

    def _maker(self, name: str) -> onnx.NodeProto | None:
        return next((n for n in self.graph.node if name in n.output), None)

    def _readers(self, name: str) -> list[onnx.NodeProto]:
        return [n for n in self.graph.node if name in n.input]

    def _add(self, name: str, value: Array) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), self._fresh(name))
        self.graph.initializer.append(tensor)
        self.constants[tensor.name] = self.graph.initializer[-1]
        return str(tensor.name)

    def _fresh(self, name: str) -> str:
        taken = {*self.constants, *(o for n in self.graph.node for o in (*n.output, n.name))}
        names = (name if i == 0 else f"{name}.{i}" for i in range(len(taken) + 1))
        return next(n for n in names if n not in taken)
