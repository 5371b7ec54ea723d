"""Transpose that no pass could absorb: y = x with its axes permuted as in ONNX. Its gradient is the inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te

from mcugrad.ops.operator import Attrs, Axis, Type, attributes, define, dtype, same_channels, shape
from mcugrad.ops.requantize import chw
from mcugrad.program import ErrorType, Ref, Struct, Value

MOST_AXES = 5  # of mg_permute_t

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


def runs_of_axes(dims: Sequence[int], axes: Sequence[int]) -> list[tuple[int, int]]:
    """The permutation as the fewest loops, outermost first: (size, stride in x) of axes that stay neighbours in y.

    A channel shuffle of a tensor (1, groups, channels, rows, columns) is three. The kernel has MOST_AXES.
    """
    strides = [math.prod(dims[axis + 1 :]) for axis in range(len(dims))]
    loops: list[tuple[int, int]] = []
    for size, stride in ((dims[a], strides[a]) for a in axes if dims[a] > 1):
        if loops and loops[-1][1] == size * stride:
            loops[-1] = loops[-1][0] * size, stride
        else:
            loops.append((size, stride))
    return loops


def permute_struct(dims: Sequence[int], axes: Sequence[int]) -> Struct:
    """mg_permute_t of the permutation of a tensor of shape `dims`, whose loops are at most MOST_AXES."""
    loops = runs_of_axes(dims, axes)
    sizes, strides = zip(*[(1, 0)] * (MOST_AXES - len(loops)), *loops, strict=True)
    return Struct("mg_permute_t", (("shape", sizes), ("stride", strides)))


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
