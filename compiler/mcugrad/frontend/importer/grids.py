"""QuantizeLinear and DequantizeLinear: on which int8 grid a value lives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from tvm import relax

from mcugrad.errors import McugradError
from mcugrad.frontend.importer.values import Array, Logits, Pending, Quantized, Sample, Value
from mcugrad.frontend.importer.walk import Handler, Walk, has_input
from mcugrad.graph import Grid
from mcugrad.ops.operator import Type


def quantize_linear(walk: Walk, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
    """Completes what is pending; the classifier's float32 logits stay as they are."""
    value = walk.values[node.input[0]]
    if isinstance(value, Logits):
        return value
    grid = _grid(walk, node)
    if isinstance(value, Sample):
        return quantize_sample(walk, node, value, grid)
    if isinstance(value, Pending):
        var = value.emit(grid, *_limits(value, grid))
        return Quantized(var if value.view is None else walk.reshape(var, value.view), grid)
    if isinstance(value, Quantized):
        return walk.on_grid(value, grid, node.name)
    raise McugradError(f"node '{node.name}' (QuantizeLinear): quantises a constant; fold it into an initializer")


def dequantize_linear(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """An activation is the same value; a constant learns its scale and zero point."""
    value = walk.values[node.input[0]]
    if not isinstance(value, Array):
        return value
    scale = walk.array(node, 1).data.astype(np.float32).reshape(-1)
    zero = walk.array(node, 2).data.astype(np.int32).reshape(-1) if has_input(node, 2) else np.zeros(1, np.int32)
    return replace(value, scale=scale, zero=zero, axis=attrs.get("axis", 1) % max(value.data.ndim, 1))


def _grid(walk: Walk, node: onnx.NodeProto) -> Grid:
    scale = walk.array(node, 1).data
    zero = walk.array(node, 2).data if has_input(node, 2) else np.zeros((), np.uint8)
    if scale.size != 1:
        raise McugradError(f"node '{node.name}': activations need one scale, this one has {scale.size}")
    if zero.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise McugradError(f"node '{node.name}': activations are {zero.dtype}: quantise them to int8 or uint8")
    shift = 128 if zero.dtype == np.uint8 else 0
    return Grid(float(scale.reshape(())), int(zero.reshape(())) - shift, str(zero.dtype))


def quantize_sample(walk: Walk, node: onnx.NodeProto, sample: Sample, grid: Grid) -> Quantized:
    """The graph's input on `grid`, which becomes the sample's own if it is the first."""
    if walk.sample is None:
        walk.sample = (sample, grid, relax.Var("input", Type(sample.shape, "int8")))
    elif walk.sample[0] != sample:
        raise McugradError(f"node '{node.name}': the graph's input is quantised in two layouts; keep one")
    return walk.on_grid(Quantized(walk.sample[2], walk.sample[1]), grid, node.name)


def pending_sample(walk: Walk, node: onnx.NodeProto, sample: Sample) -> Pending:
    """The graph's input on the grid of what a Clip or a layout makes of it: those and rounding can change places."""

    def emit(grid: Grid, low: int, high: int) -> relax.Var:
        x = quantize_sample(walk, node, sample, grid)
        return x.var if (low, high) == (-128, 127) else walk.requantize(x, node.name)(grid, low, high)

    return Pending(emit, node.name)


def _limits(value: Pending, grid: Grid) -> tuple[int, int]:
    """The int8 range that Relu or Clip leave on `grid`."""

    def place(real: float) -> int:
        if np.isinf(real):
            return -128 if real < 0 else 127
        with np.errstate(over="ignore"):  # a limit far outside a tiny grid is its end
            return int(np.clip(np.rint(np.float32(real) / np.float32(grid.scale)) + grid.zero_point, -128, 127))

    return place(value.low), place(value.high)


HANDLERS: dict[str, Handler] = {"QuantizeLinear": quantize_linear, "DequantizeLinear": dequantize_linear}
