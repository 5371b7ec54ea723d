"""Layers with parameters: Conv, Gemm (a 1x1 convolution of one position) and the classifier in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from tvm import relax

from mcugrad import ops
from mcugrad.errors import McugradError
from mcugrad.frontend.importer.head import is_quantised_after
from mcugrad.frontend.importer.values import Array, Logits, Pending, Quantized, Value
from mcugrad.frontend.importer.walk import Handler, Walk, has_input
from mcugrad.frontend.importer.windows import conv_attrs
from mcugrad.graph import Grid, Role
from mcugrad.ops.operator import shape

FRESH_SCALE = 1 / 256  # of an int8 classifier that starts at zero


def conv(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """Conv over one or two spatial axes; 1-D data is one row."""
    weight = walk.array(node, 1)
    if node.name == walk.head and (value := _classifier(walk, node, weight)) is not None:
        return value
    x = walk.activation(node)
    dims = shape(x.var)
    spatial = dims if len(dims) == 4 else (dims[0], dims[1], 1, dims[2])
    w_shape = weight.data.shape if weight.data.ndim == 4 else (*weight.data.shape[:2], 1, weight.data.shape[2])
    window = conv_attrs(attrs, len(dims) - 2)
    return _conv(walk, node, x, walk.reshape(x.var, spatial), weight, w_shape, window, len(dims))


def gemm(walk: Walk, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
    """Gemm with a constant weight."""
    weight = walk.array(node, 1)
    if not attrs.get("transB", 0):
        weight = replace(weight, data=np.ascontiguousarray(weight.data.T), axis=1 - weight.axis)
    if node.name == walk.head and (value := _classifier(walk, node, weight)) is not None:
        return value
    x = walk.activation(node)
    outputs, inputs = weight.data.shape
    point = walk.reshape(x.var, (1, inputs, 1, 1))
    return _conv(walk, node, x, point, weight, (outputs, inputs, 1, 1), conv_attrs({}, 2), 2)


def _conv(
    walk: Walk,
    node: onnx.NodeProto,
    x: Quantized,
    operand: relax.Var,
    weight: Array,
    w_shape: tuple[int, ...],
    window: dict[str, Any],
    rank: int,
) -> Value:
    """`operand` is x as (1, c, h, w), `w_shape` OIHW; the result gets back x's `rank`."""
    data, w_scale, zero = _integers(node, weight, w_shape[0])
    w = walk.parameter(node, "weight", Role.WEIGHT, data.reshape(w_shape), w_scale, weight.name)
    w_zero = [relax.const(zero)] if zero.any() else []
    b_scale = np.float32(x.grid.scale) * w_scale
    b = _bias(walk, node, b_scale, w_shape[0])

    def emit(grid: Grid, low: int, high: int) -> relax.Var:
        scale = relax.const((b_scale / np.float32(grid.scale)).astype(np.float32))
        out = {"y_zero": grid.zero_point, "y_min": low, "y_max": high, "y_scale": grid.scale}
        call = ops.conv2d(operand, w, b, scale, *w_zero, x_zero=x.grid.zero_point, layer=node.name, **out, **window)
        y = walk.emit(call)
        n, c, h, width = shape(y)
        return walk.reshape(y, {2: (n, c), 3: (n, c, width), 4: (n, c, h, width)}[rank])

    return Pending(emit, node.name)


def _bias(walk: Walk, node: onnx.NodeProto, scale: np.ndarray, channels: int) -> relax.Var:
    """int32 on the grid x_scale * w_scale; a layer without a bias gets one of zeros, so that it can train."""
    if not has_input(node, 2):
        return walk.parameter(node, "bias", Role.BIAS, np.zeros(channels, np.int32), scale, "")
    array = walk.array(node, 2)
    data = array.data.reshape(-1)
    if data.dtype != np.int32:
        exact = np.rint(array.real().reshape(-1).astype(np.float64) / scale.astype(np.float64))
        data = np.clip(exact, -(2**31), 2**31 - 1)
    data = np.broadcast_to(data, (channels,)).astype(np.int32)
    return walk.parameter(node, "bias", Role.BIAS, data, scale, array.name)


def _classifier(walk: Walk, node: onnx.NodeProto, weight: Array) -> Value | None:
    """The last layer where its outputs are real: float32 if so wanted or if its weight is, int8 otherwise; None where
    its outputs are quantised, too."""
    if walk.float_head or (weight.scale is None and not walk.int8_head):
        return _dense(walk, node, weight.real().reshape(weight.data.shape[0], -1))
    if is_quantised_after(walk.graph, node):
        return None
    return _dense_s8(walk, node, weight if weight.scale is not None else _quantised(weight))


def _quantised(weight: Array) -> Array:
    """A float weight as symmetric int8 per output channel; channels of zeros get a grid of 1/256 to learn on."""
    real = weight.real().reshape(weight.data.shape[0], -1)
    largest = np.abs(real).max(axis=1)
    scale = np.where(largest > 0, largest / 127, FRESH_SCALE).astype(np.float32)
    data = np.rint(real / scale[:, None]).astype(np.int8).reshape(weight.data.shape)
    return Array(weight.name, data, scale, np.zeros(1, np.int32))


def _dense_s8(walk: Walk, node: onnx.NodeProto, weight: Array) -> Value:
    """The classifier in int8 with real outputs."""
    x = walk.activation(node)
    outputs = weight.data.shape[0]
    data, w_scale, zero = _integers(node, weight, outputs)
    if zero.any():
        raise McugradError(
            f"node '{node.name}' ({node.op_type}): its int8 weights have a zero point and its outputs are real: "
            "quantise its output too or its weights symmetrically (WeightSymmetric), or train it in float32 "
            '(head = "float32" in the scheme)'
        )
    data = data.reshape(outputs, -1, 1, 1)
    w = walk.parameter(node, "weight", Role.WEIGHT, data, w_scale, weight.name)
    scale = np.float32(x.grid.scale) * w_scale
    b = _bias(walk, node, scale, outputs)
    point = walk.reshape(x.var, (1, data.shape[1], 1, 1))
    call = ops.dense_s8(point, w, b, relax.const(scale), x_zero=x.grid.zero_point, layer=node.name)
    return Logits(walk.emit(call))


def _dense(walk: Walk, node: onnx.NodeProto, weight: np.ndarray) -> Value:
    """The classifier in float32 on dequantized features; weight (outputs, inputs)."""
    x = walk.activation(node)
    outputs, inputs = weight.shape
    ones = np.ones(outputs, np.float32)
    features = walk.emit(ops.dequantize(x.var, x_scale=x.grid.scale, x_zero=x.grid.zero_point, layer=node.name))
    array = walk.array(node, 2) if has_input(node, 2) else None
    bias = np.zeros(outputs, np.float32) if array is None else array.real().reshape(-1)
    bias = np.ascontiguousarray(np.broadcast_to(bias, (outputs,)))
    w = walk.parameter(node, "weight", Role.FLOAT_WEIGHT, np.ascontiguousarray(weight), ones, node.input[1])
    b = walk.parameter(node, "bias", Role.FLOAT_BIAS, bias, ones, "" if array is None else array.name)
    return Logits(walk.emit(ops.dense(walk.reshape(features, (1, inputs)), w, b, layer=node.name)))


def _integers(node: onnx.NodeProto, weight: Array, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weight as int8 of its own shape, float32 scale and int8 zero point per output channel; uint8 is shifted.

    Raises McugradError unless it is 8-bit with scales along the outputs.
    """
    where = f"node '{node.name}' ({node.op_type})"
    if weight.scale is None or weight.zero is None:
        raise McugradError(f"{where}: its weight is not quantised: run `mcugrad quantize`")
    if weight.data.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise McugradError(f"{where}: its weight is {weight.data.dtype}: quantise weights to int8 (QInt8)")
    if max(weight.scale.size, weight.zero.size) > 1 and weight.axis != 0:
        raise McugradError(f"{where}: its weight scales do not run along the output channels")
    shift = 128 if weight.data.dtype == np.uint8 else 0
    scale, zero = (np.broadcast_to(v, (channels,)) for v in (weight.scale, weight.zero - shift))
    data = (weight.data.astype(np.int16) - shift).astype(np.int8)
    return data, np.ascontiguousarray(scale, np.float32), np.ascontiguousarray(zero, np.int8)


HANDLERS: dict[str, Handler] = {"Conv": conv, "Gemm": gemm}
