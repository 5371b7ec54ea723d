"""Whole tensors: Concat, Pad, the pools, Reshape and Transpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from tvm import relax

from mcugrad import ops
from mcugrad.errors import McugradError
from mcugrad.frontend.importer.grids import pending_sample
from mcugrad.frontend.importer.values import Logits, Pending, Quantized, Sample, Value
from mcugrad.frontend.importer.walk import Handler, Walk, has_input, ratio
from mcugrad.frontend.importer.windows import pool_attrs
from mcugrad.graph import Grid
from mcugrad.ops.box import four_axes
from mcugrad.ops.operator import shape
from mcugrad.ops.permute import MOST_AXES, runs_of_axes


def concat(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """Each operand is requantised to the result's grid. One of two may be a constant."""
    read = walk.operand if len(node.input) == 2 else walk.activation
    parts = [read(node, i) for i in range(len(node.input))]
    axis = attrs["axis"] % len(shape(parts[0].var))
    if axis == 0:
        raise McugradError(f"node '{node.name}' (Concat): joins along the batch: concatenate another axis")

    def emit(grid: Grid, low: int, high: int) -> relax.Var:
        scales = [ratio(p.grid, grid) for p in parts]
        out = {"y_zero": grid.zero_point, "y_min": low, "y_max": high, "y_scale": grid.scale}
        zeros = [p.grid.zero_point for p in parts]
        call = ops.concat(*(p.var for p in parts), axis=axis, scales=scales, zeros=zeros, layer=node.name, **out)
        return walk.emit(call)

    return Pending(emit, node.name)


def pad(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """Constant mode."""
    x = walk.activation(node)
    pads = [int(p) for p in walk.array(node, 1).data] if has_input(node, 1) else list(attrs["pads"])
    rank = len(shape(x.var))
    dims = [b + d + e for b, d, e in zip(pads[:rank], shape(x.var), pads[rank:], strict=True)]
    if four_axes(pads[:rank], shape(x.var), dims) is None:
        raise McugradError(
            f"node '{node.name}' (Pad): pads too many axes of a tensor of {rank}; pad before the Reshape that made it"
        )
    value = float(walk.array(node, 2).real().reshape(())) if has_input(node, 2) else 0.0

    def emit(grid: Grid, low: int, high: int) -> relax.Var:
        fill = int(np.clip(np.rint(np.float32(value) / np.float32(grid.scale)) + grid.zero_point, low, high))
        k = {"scale": ratio(x.grid, grid), "alpha": 1.0, "x_zero": x.grid.zero_point, "y_zero": grid.zero_point}
        where = {"begin": pads[:rank], "end": pads[rank:], "y_min": low, "y_max": high, "y_scale": grid.scale}
        return walk.emit(ops.pad(x.var, fill=fill, layer=node.name, **k, **where))

    return Pending(emit, node.name)


# ---- pools -----------------------------------------------------------------------------------------------------------


def max_pool(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """The result keeps the operand's grid."""
    x = walk.activation(node)
    out = {"x_zero": x.grid.zero_point, "y_zero": x.grid.zero_point, "y_scale": x.grid.scale}
    limits = {"y_min": -128, "y_max": 127, "layer": node.name}
    call, dims = _pool(walk, x, attrs, ops.max_pool2d, {**out, **limits})
    return Quantized(walk.reshape(walk.emit(call), dims), x.grid)


def average_pool(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    x = walk.activation(node)

    def emit(grid: Grid, low: int, high: int) -> relax.Var:
        out = {"y_zero": grid.zero_point, "y_scale": grid.scale, "y_min": low, "y_max": high}
        scale = {"scale": ratio(x.grid, grid), "x_zero": x.grid.zero_point, "layer": node.name}
        call, dims = _pool(walk, x, attrs, ops.avg_pool2d, {**out, **scale})
        return walk.reshape(walk.emit(call), dims)

    return Pending(emit, node.name)


def global_average_pool(walk: Walk, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
    """One window as large as the input."""
    return average_pool(walk, node, {"kernel_shape": list(shape(walk.activation(node).var)[2:])})


def _pool(
    walk: Walk, x: Quantized, attrs: dict[str, Any], op: Callable[..., relax.Call], more: dict[str, Any]
) -> tuple[relax.Call, tuple[int, ...]]:
    """The call on (1, c, h, w), and the shape of its result in x's rank."""
    dims = shape(x.var)
    spatial = dims if len(dims) == 4 else (dims[0], dims[1], 1, dims[2])
    window = pool_attrs(attrs, spatial[2:], len(dims) - 2)
    height, width = window["out_size"]
    out = (dims[0], dims[1], width) if len(dims) == 3 else (dims[0], dims[1], height, width)
    return op(walk.reshape(x.var, spatial), **window, **more), out


# ---- layout ----------------------------------------------------------------------------------------------------------


def reshape(walk: Walk, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
    """Costs nothing at run time: a view."""
    value, dims = walk.values[node.input[0]], tuple(int(d) for d in walk.array(node, 1).data)
    if any(d <= 0 for d in dims):
        raise McugradError(f"node '{node.name}' (Reshape): its shape {dims} is not static")
    if isinstance(value, Sample):
        return replace(pending_sample(walk, node, value), view=dims)
    if isinstance(value, Pending):
        return replace(value, view=dims)
    if isinstance(value, Logits):
        return Logits(walk.reshape(value.var, dims))
    x = walk.activation(node)
    return Quantized(walk.reshape(x.var, dims), x.grid)


def transpose(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """Of the sample: the host permutes it. Elsewhere a copy."""
    value, axes = walk.values[node.input[0]], tuple(attrs["perm"])
    if axes[0] != 0:
        raise McugradError(f"node '{node.name}' (Transpose): moves the batch axis; keep it first")
    if isinstance(value, Sample) and value.axes is None:
        return Sample(tuple(value.shape[a] for a in axes), axes)
    if isinstance(value, Pending):  # the sample, reshaped

        def emit(grid: Grid, low: int, high: int) -> relax.Var:
            var = value.emit(grid, low, high)
            return _permuted(walk, node, Quantized(walk.reshape(var, value.view or shape(var)), grid), axes)

        return Pending(emit, value.node, value.low, value.high)
    x = walk.activation(node)
    return Quantized(_permuted(walk, node, x, axes), x.grid)


def _permuted(walk: Walk, node: onnx.NodeProto, x: Quantized, axes: tuple[int, ...]) -> relax.Var:
    if len(runs_of_axes(shape(x.var), axes)) > MOST_AXES:
        raise McugradError(
            f"node '{node.name}' (Transpose): {axes} moves more than {MOST_AXES} axes apart; use two Transposes"
        )
    call = ops.permute(x.var, axes=list(axes), layer=node.name, y_scale=x.grid.scale, y_zero=x.grid.zero_point)
    return walk.emit(call)


HANDLERS: dict[str, Handler] = {
    "Concat": concat,
    "Pad": pad,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "Reshape": reshape,
    "Transpose": transpose,
}
