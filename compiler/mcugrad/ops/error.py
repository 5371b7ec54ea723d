"""Error tensors: the float32 adjoints that `autodiff` yields, and their integer form.

    channel_scale(v, m)[c,...] = v[c,...] * m[c]             the requantisation factor, folded in before rounding
    mask(v, y) = v where y_min < y < y_max, else 0           straight-through estimator of a saturating int8 output
    scale(v) = v * factor                                    a scalar, such as a_scale / y_scale of an Add

`quantize_errors` stores an adjoint v as int8 or int16 with one power-of-two scale S predicted from the steps before:

    G = max |dL/dfeature|        ratio' = max(0.99 * ratio, max|v| / G)        S = pow2ceil(ratio * G / qmax)
    e = round(clamp(v / S, +-qmax))            v ~ real(e, S) = e * S

A ratio of 0 is uncalibrated: the step then uses max|v| / G of this very tensor (the C runs the kernel twice). Source:
the delayed scaling of FP8 training, with powers of two so that no scale multiplication rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvm import relax, te, tirx

from mcugrad.ops.operator import Attrs, Type, define, dtype, f32, shape

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

Q_MAX = {"int8": 127, "int16": 32767}
DECAY = 0.99


def _same(_: Attrs, types: Sequence[Type]) -> Type:
    return Type(shape(types[0]), "float32")


def _scalar(_: Attrs, __: Sequence[Type]) -> Type:
    return Type((1,), "float32")


# ---- the epilogue of every backward kernel (mg_store) ----------------------------------------------------------------

channel_scale = define(
    "channel_scale", _same, lambda v, m: te.compute(v.shape, lambda *i: v(*i) * m[i[1]], name="channel_scale")
)
scale = define("scale", _same, lambda v, factor: te.compute(v.shape, lambda *i: v(*i) * f32(factor), name="scale"))


def _compute_mask(v: te.Tensor, y: te.Tensor, *, y_min: int, y_max: int, layer: str) -> te.Tensor:
    def at(*i: tirx.Var) -> tirx.PrimExpr:
        value = y(*i).astype("int32")
        return tirx.Select(tirx.all(value > y_min, value < y_max), v(*i), f32(0.0))

    return te.compute(v.shape, at, name="mask")


mask = define("mask", _same, _compute_mask)

# real(e, S): an accumulator of integer errors, or an integer error itself, in real units
real = define("real", _same, lambda e, s: te.compute(e.shape, lambda *i: e(*i).astype("float32") * s[0], name="real"))


# ---- delayed scales --------------------------------------------------------------------------------------------------


def pow2ceil(value: tirx.PrimExpr) -> tirx.PrimExpr:
    """The smallest power of two >= max(value, 2^-100), by the exponent bits."""
    bits = tirx.reinterpret("int32", te.max(value, f32(2.0**-100)))
    up = tirx.Select((bits & 0x7FFFFF) != 0, tirx.const(1, "int32"), tirx.const(0, "int32"))
    return tirx.reinterpret("float32", ((bits >> 23) + up) << 23)


def _absmax(v: te.Tensor) -> te.Tensor:
    axes = [te.reduce_axis((0, d)) for d in shape(v)]
    return te.compute((1,), lambda _: te.max(te.abs(v(*axes)), axis=axes), name="absmax")


def _compute_unit(v: te.Tensor) -> te.Tensor:
    largest = _absmax(v)
    return te.compute((1,), lambda i: te.max(largest[i], f32(1e-30)), name="unit")


def _used_ratio(ratio: te.Tensor, largest: te.Tensor, unit: te.Tensor) -> tirx.PrimExpr:
    return tirx.Select(ratio[0] == f32(0.0), largest[0] / unit[0], ratio[0])


def _compute_scale(v: te.Tensor, ratio: te.Tensor, unit: te.Tensor, *, error_type: str) -> te.Tensor:
    largest = _absmax(v)
    inverse = f32(1.0 / Q_MAX[error_type])
    return te.compute((1,), lambda _: pow2ceil((_used_ratio(ratio, largest, unit) * unit[0]) * inverse), name="S")


def _compute_ratio(v: te.Tensor, ratio: te.Tensor, unit: te.Tensor) -> te.Tensor:
    largest = _absmax(v)
    return te.compute(
        (1,),
        lambda _: te.max(f32(DECAY) * _used_ratio(ratio, largest, unit), largest[0] / unit[0]),
        name="ratio",
    )


def _compute_quantize(v: te.Tensor, s: te.Tensor, *, error_type: str, layer: str) -> te.Tensor:
    q_max = f32(Q_MAX[error_type])

    def at(*i: tirx.Var) -> tirx.PrimExpr:
        scaled = v(*i) * (f32(1.0) / s[0])
        return tirx.nearbyint(te.max(te.min(scaled, q_max), -q_max)).astype(error_type)

    return te.compute(v.shape, at, name="e")


def _lower_unit(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    low.unit(var, call.args[0])


def _lower_stored(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    low.stored_error(var, call.args[0], dtype(var))


error_unit = define("error_unit", _scalar, _compute_unit, lower=_lower_unit)
error_scale = define("error_scale", _scalar, _compute_scale)
error_ratio = define("error_ratio", _scalar, _compute_ratio)
error_quantize = define(
    "error_quantize", lambda a, t: Type(shape(t[0]), a["error_type"]), _compute_quantize, lower=_lower_stored
)
# A float32 error kept as it is: marks where it is stored.
error_store = define(
    "error_store",
    _same,
    lambda v, layer: te.compute(v.shape, lambda *i: v(*i), name="stored"),
    lower=_lower_stored,
)
