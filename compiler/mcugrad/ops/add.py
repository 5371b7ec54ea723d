"""Residual addition of two int8 tensors of the same shape.

    y = clamp(round((a - a_zero) * a_scale + (b - b_zero) * b_scale) + y_zero)

a_scale and b_scale are already divided by y's scale. onnxruntime's QLinearAdd within one unit: it sums the same
products in another order. Gradient: the masked error goes to both, scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te

from mcugrad.ops import error
from mcugrad.ops.operator import Attrs, Type, attributes, clamp_round, define, f32, i32, same_channels, shape
from mcugrad.program import Ref, Struct, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

FIELDS = ("a_scale", "b_scale", "a_zero", "b_zero", "y_zero", "y_min", "y_max")


def _infer(_: Attrs, types: Sequence[Type]) -> Type:
    return Type(shape(types[0]), "int8")


def _compute(a: te.Tensor, b: te.Tensor, **k: Any) -> te.Tensor:
    def at(*i: Any) -> Any:
        left = (a(*i).astype("int32") - i32(k["a_zero"])).astype("float32") * f32(k["a_scale"])
        right = (b(*i).astype("int32") - i32(k["b_zero"])).astype("float32") * f32(k["b_scale"])
        return clamp_round(left + right, k["y_zero"], k["y_min"], k["y_max"])

    return te.compute(a.shape, at, name="y")


def _gradient(y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder) -> list[relax.Expr]:
    attrs = attributes(call)
    masked = builder.emit(error.mask(adjoint, y, y_min=attrs["y_min"], y_max=attrs["y_max"], layer=attrs["layer"]))
    return [error.scale(masked, factor=attrs["a_scale"]), error.scale(masked, factor=attrs["b_scale"])]


def _lower(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, (a, b) = attributes(call), (low.name(v) for v in call.args)
    out = low.activation(var, attrs)
    geometry = Struct("mg_add_t", tuple((name, attrs[name]) for name in FIELDS))
    args = (geometry, Ref(a), Ref(b), Value(low.buffers[a].elements), Ref(out))
    low.call("mg_add_s8", attrs["layer"], "Add", args, [a, b], [out], inplace=((out, a), (out, b)))


add = define("add", _infer, _compute, gradient=_gradient, lower=_lower, channels=same_channels)
