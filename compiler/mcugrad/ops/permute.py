"""Transpose that no pass could absorb: y = x with its axes permuted as in ONNX. Its gradient is the inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te

from mcugrad.ops.operator import Attrs, Axis, Type, attributes, define, dtype, same_channels, shape
from mcugrad.ops.requantize import chw
from mcugrad.program import ErrorType, Ref, Struct, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering


def _infer(attrs: Attrs, types: Sequence[Type]) -> Type:
    dims = shape(types[0])
    return Type(tuple(dims[a] for a in attrs["axes"]), dtype(types[0]))


def _compute(x: te.Tensor, *, axes: Sequence[int], **_: Any) -> te.Tensor:
    dims = shape(x)

    def at(*i: Any) -> Any:
        place = dict(zip(axes, i, strict=True))
        return x(*[place[a] for a in range(len(dims))])

    return te.compute(tuple(dims[a] for a in axes), at, name="y")


def _gradient(_y: relax.Var, call: relax.Call, adjoint: relax.Var, _b: relax.BlockBuilder) -> list[relax.Expr]:
    attrs = attributes(call)
    inverse = sorted(range(len(attrs["axes"])), key=lambda i: attrs["axes"][i])
    return [permute_dgrad(adjoint, axes=inverse, layer=attrs["layer"])]


def permute_struct(dims: Sequence[int], axes: Sequence[int]) -> Struct:
    """mg_permute_t of the permutation of a tensor of shape `dims` (rank <= 4)."""
    strides = [1] * len(dims)
    for axis in reversed(range(len(dims) - 1)):
        strides[axis] = strides[axis + 1] * dims[axis + 1]
    missing = 4 - len(dims)
    out_shape = (1,) * missing + tuple(dims[a] for a in axes)
    return Struct("mg_permute_t", (("shape", out_shape), ("stride", (0,) * missing + tuple(strides[a] for a in axes))))


def _lower(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, x = attributes(call), low.name(call.args[0])
    out = low.activation(var, attrs)
    args = (permute_struct(shape(call.args[0]), attrs["axes"]), Ref(x), Ref(out))
    low.call("mg_permute_s8", attrs["layer"], "Transpose", args, [x], [out])


def _lower_dgrad(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, e = attributes(call), low.name(call.args[0])
    _, height, width = chw(shape(var))
    geometry = permute_struct(shape(call.args[0]), attrs["axes"])
    low.error_call(
        "mg_permute_dgrad", attrs["layer"], (geometry, Ref(e), ErrorType(e), Value(height * width)), [e], var
    )


def _channels(var: relax.Var, call: relax.Call) -> list[list[Axis]]:
    return same_channels(var, call) if attributes(call)["axes"][1] == 1 else []


permute = define("permute", _infer, _compute, gradient=_gradient, lower=_lower, channels=_channels)
permute_dgrad = define("permute_dgrad", _infer, _compute, lower=_lower_dgrad)
