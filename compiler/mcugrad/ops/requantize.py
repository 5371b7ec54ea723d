"""One int8 tensor on another int8 grid: requantisation, Relu, Clip and LeakyRelu.

    v = (x - x_zero) * scale;  v = v * alpha where x < x_zero;  y = clamp(round(v) + y_zero, y_min, y_max)

scale = x_scale / y_scale, alpha = 1 except for LeakyRelu. Relu and Clip are y_min and y_max. A change of scale is
within one unit of onnxruntime's DequantizeLinear + QuantizeLinear. Gradient: mask, scale, and alpha where x < x_zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te, tirx

from mcugrad.ops import error
from mcugrad.ops.operator import Attrs, Type, attributes, clamp_round, define, f32, i32, same_channels, shape
from mcugrad.program import ErrorType, Ref, Struct, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

FIELDS = ("scale", "alpha", "x_zero", "y_zero", "y_min", "y_max")


def chw(dims: Sequence[int], missing: int = 1) -> tuple[int, int, int]:
    """(channels, rows, columns) of a batch-1 shape, or, with `missing` 0, of a position in one of rank 1 to 4.

    Axes that are not there are `missing`; 1-D data is one row, and axes past the fourth count as columns.
    """
    rest = tuple(dims[1:]) if len(dims) > 1 else tuple(dims)
    if len(rest) == 1:
        return rest[0], missing, missing
    if len(rest) == 2:
        return rest[0], missing, rest[1]
    return rest[0], rest[1], math.prod(rest[2:])


def requantize_struct(attrs: Attrs) -> Struct:
    return Struct("mg_requantize_t", tuple((name, attrs[name]) for name in FIELDS))


def dense_box(count: int) -> Struct:
    """`count` contiguous elements in both tensors."""
    return box(1, 1, count, (count, count), (count, count))


def box(outer: int, rows: int, inner: int, source: tuple[int, int], target: tuple[int, int]) -> Struct:
    """mg_box_t: sizes, then (outer, row) strides of the source and of the target."""
    sizes = (("outer", outer), ("rows", rows), ("inner", inner))
    strides = (("src_stride_o", source[0]), ("src_stride_r", source[1]))
    return Struct("mg_box_t", (*sizes, *strides, ("dst_stride_o", target[0]), ("dst_stride_r", target[1])))


def _infer(_: Attrs, types: Sequence[Type]) -> Type:
    return Type(shape(types[0]), "int8")


def rescaled(x: tirx.PrimExpr, k: Attrs) -> tirx.PrimExpr:
    """The int8 element `x` on y's grid."""
    centred = x.astype("int32") - i32(k["x_zero"])
    value = centred.astype("float32") * f32(k["scale"])
    if k["alpha"] != 1.0:
        value = tirx.Select(centred < i32(0), value * f32(k["alpha"]), value)
    return clamp_round(value, k["y_zero"], k["y_min"], k["y_max"])


def _compute(x: te.Tensor, **k: Any) -> te.Tensor:
    return te.compute(x.shape, lambda *i: rescaled(x(*i), k), name="y")


def _gradient(y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder) -> list[relax.Expr]:
    attrs, (x,) = attributes(call), call.args
    value = builder.emit(error.mask(adjoint, y, y_min=attrs["y_min"], y_max=attrs["y_max"], layer=attrs["layer"]))
    if attrs["alpha"] != 1.0:
        value = builder.emit(
            leaky_relu_dgrad(value, x, x_zero=attrs["x_zero"], alpha=attrs["alpha"], layer=attrs["layer"])
        )
    return [error.scale(value, factor=attrs["scale"])]


def _lower(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, x = attributes(call), low.name(call.args[0])
    out = low.activation(var, attrs)
    args = (requantize_struct(attrs), dense_box(low.buffers[x].elements), Ref(x), Ref(out))
    low.call("mg_requantize_s8", attrs["layer"], "Requantize", args, [x], [out], inplace=((out, x),))


requantize = define("requantize", _infer, _compute, gradient=_gradient, lower=_lower, channels=same_channels)


# ---- LeakyRelu's gradient --------------------------------------------------------------------------------------------


def _compute_leaky(e: te.Tensor, x: te.Tensor, *, x_zero: int, alpha: float, **_: Any) -> te.Tensor:
    def at(*i: Any) -> tirx.PrimExpr:
        value = e(*i).astype("float32")
        return tirx.Select(x(*i).astype("int32") < i32(x_zero), value * f32(alpha), value)

    return te.compute(e.shape, at, name="dx")


def _lower_leaky(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, (e, x) = attributes(call), (low.name(v) for v in call.args)
    channels, height, width = chw(shape(var))
    sizes = Value(channels), Value(height * width)
    args = (Ref(e), ErrorType(e), Ref(x), Value(attrs["x_zero"]), Value(attrs["alpha"]), *sizes)
    low.error_call("mg_leaky_relu_dgrad", attrs["layer"], args, [e, x], var)


leaky_relu_dgrad = define(
    "leaky_relu_dgrad", lambda _, types: Type(shape(types[0]), "float32"), _compute_leaky, lower=_lower_leaky
)
