"""Tensors inside tensors: Concat and Pad, and the slice that is their gradient.

    concat: y = [x_0, x_1, ...] along `axis`, each requantised to y's grid     (onnxruntime's QLinearConcat, <= 1 unit)
    pad:    y = fill everywhere, x requantised to y's grid at `begin`          (constant mode)
    slice_dgrad: the block of `size` elements at `begin` of an error

A change of grid may saturate: then, and only then, the gradient is masked by y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te, tirx

from mcugrad.ops import error
from mcugrad.ops.operator import Attrs, Axis, Type, attributes, define, dtype, same_channels, shape
from mcugrad.ops.requantize import box, chw, requantize_struct, rescaled
from mcugrad.program import ErrorType, Ref, Struct, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering


def _operand(attrs: Attrs, index: int) -> Attrs:
    """Requantisation attributes of Concat operand `index`."""
    grid = {name: attrs[name] for name in ("y_zero", "y_min", "y_max")}
    return {"scale": attrs["scales"][index], "x_zero": attrs["zeros"][index], "alpha": 1.0, **grid}


def _same_grid(k: Attrs) -> bool:
    return bool(k["scale"] == 1.0 and k["x_zero"] == k["y_zero"] and (k["y_min"], k["y_max"]) == (-128, 127))


def _masked(y: relax.Var, adjoint: relax.Var, attrs: Attrs, same: bool, builder: relax.BlockBuilder) -> relax.Var:
    if same:
        return adjoint
    return builder.emit(error.mask(adjoint, y, y_min=attrs["y_min"], y_max=attrs["y_max"], layer=attrs["layer"]))


# ---- Concat ----------------------------------------------------------------------------------------------------------


def _infer_concat(attrs: Attrs, types: Sequence[Type]) -> Type:
    dims = list(shape(types[0]))
    dims[attrs["axis"]] = sum(shape(t)[attrs["axis"]] for t in types)
    return Type(tuple(dims), "int8")


def _compute_concat(*tensors: te.Tensor, **a: Any) -> te.Tensor:
    axis, sizes = a["axis"], [shape(t)[a["axis"]] for t in tensors]
    dims = list(shape(tensors[0]))
    dims[axis] = sum(sizes)

    def at(*i: Any) -> tirx.PrimExpr:
        value, start = None, sum(sizes)
        for index in reversed(range(len(tensors))):
            start -= sizes[index]
            place = [*i[:axis], te.max(i[axis] - start, 0), *i[axis + 1 :]]
            place[axis] = te.min(place[axis], sizes[index] - 1)
            here = rescaled(tensors[index](*place), _operand(a, index))
            value = here if value is None else tirx.Select(i[axis] < start + sizes[index], here, value)
        return value

    return te.compute(tuple(dims), at, name="y")


def _gradient_concat(
    y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder
) -> list[relax.Expr]:
    attrs, axis, start, adjoints = attributes(call), attributes(call)["axis"], 0, []
    same = all(_same_grid(_operand(attrs, i)) for i in range(len(call.args)))
    masked = _masked(y, adjoint, attrs, same, builder)
    for index, x in enumerate(call.args):
        begin = [0] * len(shape(x))
        begin[axis] = start
        start += shape(x)[axis]
        part = builder.emit(slice_dgrad(masked, begin=begin, size=list(shape(x)), layer=attrs["layer"]))
        adjoints.append(error.scale(part, factor=attrs["scales"][index]))
    return adjoints


def _lower_concat(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, axis, offset = attributes(call), attributes(call)["axis"], 0
    out, dims = low.activation(var, attrs), shape(var)
    inner = math.prod(dims[axis + 1 :])
    for index, x in enumerate(call.args):
        size = shape(x)[axis] * inner
        block = box(math.prod(dims[:axis]), 1, size, (size, 0), (dims[axis] * inner, 0))
        args = (requantize_struct(_operand(attrs, index)), block, Ref(low.name(x)), Ref(out, offset))
        low.call("mg_requantize_s8", attrs["layer"], "Concat", args, [low.name(x)], [out])
        offset += size


def _channels_concat(var: relax.Var, call: relax.Call) -> list[list[Axis]]:
    return same_channels(var, call) if attributes(call)["axis"] != 1 else []


concat = define(
    "concat",
    _infer_concat,
    _compute_concat,
    gradient=_gradient_concat,
    lower=_lower_concat,
    channels=_channels_concat,
)


# ---- Pad -------------------------------------------------------------------------------------------------------------


def _infer_pad(attrs: Attrs, types: Sequence[Type]) -> Type:
    dims = zip(attrs["begin"], shape(types[0]), attrs["end"], strict=True)
    return Type(tuple(b + d + e for b, d, e in dims), "int8")


def _compute_pad(x: te.Tensor, **a: Any) -> te.Tensor:
    inner, begin, fill = shape(x), a["begin"], tirx.const(a["fill"], "int8")
    outer = tuple(b + d + e for b, d, e in zip(begin, inner, a["end"], strict=True))

    def at(*i: Any) -> tirx.PrimExpr:
        place = [v - b for v, b in zip(i, begin, strict=True)]
        inside = tirx.all(*[tirx.all(p >= 0, p < d) for p, d in zip(place, inner, strict=True)])
        return tirx.if_then_else(inside, rescaled(x(*place), a), fill)

    return te.compute(outer, at, name="y")


def _gradient_pad(y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder) -> list[relax.Expr]:
    attrs, (x,) = attributes(call), call.args
    masked = _masked(y, adjoint, attrs, _same_grid(attrs), builder)
    part = builder.emit(slice_dgrad(masked, begin=attrs["begin"], size=list(shape(x)), layer=attrs["layer"]))
    return [error.scale(part, factor=attrs["scale"])]


def four_axes(
    begin: Sequence[int], size: Sequence[int], dims: Sequence[int]
) -> tuple[Sequence[int], Sequence[int], Sequence[int]] | None:
    """The block of `size` at `begin` in a tensor of `dims`, as one of at most four axes; None where that needs more.

    Axes that the block takes whole join the axis before them.
    """
    axes = list(zip(begin, size, dims, strict=True))
    while len(axes) > 4:
        whole = next((i for i in reversed(range(2, len(axes))) if axes[i][1] == axes[i][2]), None)
        if whole is None:
            return None
        factor = axes.pop(whole)[2]
        start, extent, dim = axes[whole - 1]
        axes[whole - 1] = start * factor, extent * factor, dim * factor
    starts, sizes, wholes = zip(*axes, strict=True)
    return starts, sizes, wholes


def _block(begin: Sequence[int], size: Sequence[int], dims: Sequence[int], dense_source: bool) -> tuple[Struct, int]:
    """The block of `size` at `begin` in a tensor of `dims` against a dense one, and its offset in the former."""
    flat = four_axes(begin, size, dims)
    assert flat is not None  # the importer refuses it
    begin, size, dims = flat
    (channels, rows, columns), (_, height, width) = chw(size), chw(dims)
    start = chw(begin, missing=0)
    dense, sparse = (rows * columns, columns), (height * width, width)
    source, target = (dense, sparse) if dense_source else (sparse, dense)
    return box(channels, rows, columns, source, target), (start[0] * height + start[1]) * width + start[2]


def _lower_pad(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, x = attributes(call), low.name(call.args[0])
    out = low.activation(var, attrs)
    count = low.buffers[out].elements
    low.call("mg_fill_s8", attrs["layer"], "Pad", (Ref(out), Value(count), Value(attrs["fill"])), [], [out])
    block, offset = _block(attrs["begin"], shape(call.args[0]), shape(var), dense_source=True)
    args = (requantize_struct(attrs), block, Ref(x), Ref(out, offset))
    low.call("mg_requantize_s8", attrs["layer"], "Pad", args, [x, out], [out])


def _channels_pad(var: relax.Var, call: relax.Call) -> list[list[Axis]]:
    return same_channels(var, call) if shape(var)[1] == shape(call.args[0])[1] else []


pad = define("pad", _infer_pad, _compute_pad, gradient=_gradient_pad, lower=_lower_pad, channels=_channels_pad)


# ---- their gradient --------------------------------------------------------------------------------------------------


def _compute_slice(e: te.Tensor, *, begin: Sequence[int], size: Sequence[int], **_: Any) -> te.Tensor:
    return te.compute(tuple(size), lambda *i: e(*[v + b for v, b in zip(i, begin, strict=True)]), name="slice")


def _lower_slice(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, e = attributes(call), low.name(call.args[0])
    block, offset = _block(attrs["begin"], attrs["size"], shape(call.args[0]), dense_source=False)
    _, height, width = chw(attrs["size"])
    args = (block, Ref(e, offset), ErrorType(e), Value(height * width))
    low.error_call("mg_slice_dgrad", attrs["layer"], args, [e], var)


slice_dgrad = define(
    "slice_dgrad", lambda a, types: Type(a["size"], dtype(types[0])), _compute_slice, lower=_lower_slice
)
