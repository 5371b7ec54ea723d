"""MaxPool and AveragePool, also GlobalAveragePool and ReduceMean, which are one window.

    max: y = clamp(max over the window of x), in x's scale; padding is ignored
    avg: y = clamp(round(sum (x - x_zero) * (scale / n)) + y_zero), scale = x_scale / y_scale

n counts the window's positions inside the input, or inside the padded input when `count_pad` (ONNX
count_include_pad). Max equals onnxruntime exactly, avg within one unit. Gradients: avg hands e / n to every position of
the window; max hands e to the first maximum (row by row).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te, tirx

from mcugrad.ops import error
from mcugrad.ops.operator import (
    ACCUMULATOR,
    Attrs,
    Type,
    attributes,
    clamp_round,
    define,
    dtype,
    f32,
    i32,
    same_channels,
    shape,
)
from mcugrad.program import Argument, ErrorType, Ref, Struct, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

WINDOW = ("kernel", "stride", "dilation", "pads", "out_size", "count_pad", "x_zero")
GRID = ("y_zero", "y_min", "y_max")


def _infer(attrs: Attrs, types: Sequence[Type]) -> Type:
    return Type((1, shape(types[0])[1], *attrs["out_size"]), "int8")


def _struct(dims: Sequence[int], a: Attrs) -> Struct:
    (_, channels, height, width), (out_h, out_w), (k_h, k_w) = dims, a["out_size"], a["kernel"]
    top, left, bottom, right = a["pads"]
    fields = {"c": channels, "in_h": height, "in_w": width, "out_h": out_h, "out_w": out_w, "k_h": k_h, "k_w": k_w}
    fields |= dict(zip(("stride_h", "stride_w"), a["stride"], strict=True))
    fields |= dict(zip(("dilation_h", "dilation_w"), a["dilation"], strict=True))
    fields |= {"pad_top": top, "pad_left": left, "pad_bottom": bottom, "pad_right": right}
    fields |= {name: int(a.get(name, 0)) for name in ("count_pad", "x_zero", *GRID)}
    return Struct("mg_pool2d_t", tuple(fields.items()))


def _place(a: Attrs, oy: Any, ox: Any, ky: Any, kx: Any) -> tuple[Any, Any]:
    (s_h, s_w), (d_h, d_w), (top, left, _, _) = a["stride"], a["dilation"], a["pads"]
    return oy * s_h + ky * d_h - top, ox * s_w + kx * d_w - left


def _inside(row: Any, col: Any, height: int, width: int, pads: Sequence[int] = (0, 0, 0, 0)) -> Any:
    top, left, bottom, right = pads
    return tirx.all(row >= -top, row < height + bottom, col >= -left, col < width + right)


def _windows(dims: Sequence[int], a: Attrs) -> te.Tensor:
    """n of every window, float32 (out_h, out_w)."""
    _, _, height, width = dims
    ky, kx = te.reduce_axis((0, a["kernel"][0])), te.reduce_axis((0, a["kernel"][1]))
    pads = a["pads"] if a["count_pad"] else (0, 0, 0, 0)

    def counts(oy: Any, ox: Any) -> Any:
        row, col = _place(a, oy, ox, ky, kx)
        return tirx.Select(_inside(row, col, height, width, pads), i32(1), i32(0))

    n = te.compute(a["out_size"], lambda oy, ox: te.sum(counts(oy, ox), axis=[ky, kx]), name="n")
    return te.compute(a["out_size"], lambda oy, ox: n[oy, ox].astype("float32"), name="n_f32")


def _reduce(x: te.Tensor, a: Attrs, reducer: Callable[..., Any], outside: int, zero: int) -> te.Tensor:
    _, channels, height, width = shape(x)
    ky, kx = te.reduce_axis((0, a["kernel"][0])), te.reduce_axis((0, a["kernel"][1]))

    def at(c: Any, oy: Any, ox: Any) -> Any:
        row, col = _place(a, oy, ox, ky, kx)
        value = x[0, c, row, col].astype("int32") - i32(zero)
        return tirx.if_then_else(_inside(row, col, height, width), value, i32(outside))

    dims = (1, channels, *a["out_size"])
    return te.compute(dims, lambda n, c, oy, ox: reducer(at(c, oy, ox), axis=[ky, kx]), name="window")


def _lower(low: Lowering, var: relax.Var, call: relax.Call, op: str, kernel: str, extra: tuple[Argument, ...]) -> None:
    attrs, x = attributes(call), low.name(call.args[0])
    out = low.activation(var, attrs)
    args = (_struct(shape(call.args[0]), attrs), *extra, Ref(x), Ref(out))
    low.call(kernel, attrs["layer"], op, args, [x], [out])


def _window_attrs(attrs: Attrs, x: relax.Expr) -> Attrs:
    """What gradients need, and the grid: so they have the forward's descriptor, which then is in flash once."""
    kept = {k: attrs[k] for k in (*WINDOW, *GRID) if k in attrs}
    return {"in_size": list(shape(x)[2:]), "layer": attrs["layer"], **kept}


def _error_result(attrs: Attrs, types: Sequence[Type], result: str) -> Type:
    return Type((1, shape(types[0])[1], *attrs["in_size"]), result)


def _gather(a: Attrs, channels: int, result: str, term: Callable[..., Any]) -> te.Tensor:
    """Sum over the windows that hold an input element, oy then ox ascending: ky then kx descending."""
    (k_h, k_w), (s_h, s_w), (d_h, d_w), (top, left, _, _) = a["kernel"], a["stride"], a["dilation"], a["pads"]
    out_h, out_w = a["out_size"]
    ry, rx = te.reduce_axis((0, k_h)), te.reduce_axis((0, k_w))

    def at(c: Any, iy: Any, ix: Any) -> Any:
        ky, kx = k_h - 1 - ry, k_w - 1 - rx
        row, col = iy + top - ky * d_h, ix + left - kx * d_w
        oy, ox = tirx.floordiv(row, s_h), tirx.floordiv(col, s_w)
        hit = tirx.all(oy * s_h == row, ox * s_w == col, _inside(oy, ox, out_h, out_w))
        return tirx.if_then_else(hit, term(c, oy, ox, ky * k_w + kx), tirx.const(0, result))

    dims = (1, channels, *a["in_size"])
    return te.compute(dims, lambda n, c, iy, ix: te.sum(at(c, iy, ix), axis=[ry, rx]), name="dx")


# ---- average ---------------------------------------------------------------------------------------------------------


def _compute_avg(x: te.Tensor, **a: Any) -> te.Tensor:
    total, n = _reduce(x, a, te.sum, 0, a["x_zero"]), _windows(shape(x), a)

    def at(b: Any, c: Any, oy: Any, ox: Any) -> Any:
        value = total[b, c, oy, ox].astype("float32") * (f32(a["scale"]) / n[oy, ox])
        return clamp_round(value, a["y_zero"], a["y_min"], a["y_max"])

    return te.compute(total.shape, at, name="y")


def _gradient_avg(y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder) -> list[relax.Expr]:
    attrs, (x,) = attributes(call), call.args
    masked = builder.emit(error.mask(adjoint, y, y_min=attrs["y_min"], y_max=attrs["y_max"], layer=attrs["layer"]))
    spread = builder.emit(avg_pool2d_dgrad(masked, **_window_attrs(attrs, x)))
    return [error.scale(spread, factor=attrs["scale"])]


def _average(size: Sequence[int], a: Attrs) -> str:
    """The kernel's name: one window that is the whole plane has its own, a tenth of the code."""
    whole = tuple(a["kernel"]) == tuple(size)[-2:] and not any(a["pads"]) and set(a["dilation"]) == {1}
    return "global_avg" if whole else "avg"


def _compute_avg_dgrad(e: te.Tensor, **a: Any) -> te.Tensor:
    n = _windows((1, shape(e)[1], *a["in_size"]), a)

    def term(c: Any, oy: Any, ox: Any, _: Any) -> Any:
        return e[0, c, oy, ox].astype("float32") * (f32(1.0) / n[oy, ox])

    return _gather(a, shape(e)[1], "float32", term)


def _lower_avg_dgrad(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, e = attributes(call), low.name(call.args[0])
    args = (_struct(shape(var), attrs), Ref(e), ErrorType(e))
    low.error_call(f"mg_{_average(shape(var), attrs)}_pool2d_dgrad", attrs["layer"], args, [e], var)


def _lower_avg(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs = attributes(call)
    kernel = f"mg_{_average(shape(call.args[0]), attrs)}_pool2d_s8"
    _lower(low, var, call, "AveragePool", kernel, (Value(attrs["scale"]),))


avg_pool2d = define(
    "avg_pool2d", _infer, _compute_avg, gradient=_gradient_avg, lower=_lower_avg, channels=same_channels
)
avg_pool2d_dgrad = define(
    "avg_pool2d_dgrad", lambda a, t: _error_result(a, t, "float32"), _compute_avg_dgrad, lower=_lower_avg_dgrad
)


# ---- maximum ---------------------------------------------------------------------------------------------------------


def _compute_max(x: te.Tensor, **a: Any) -> te.Tensor:
    window = _reduce(x, a, te.max, -128, 0)
    low, high = i32(a["y_min"]), i32(a["y_max"])
    return te.compute(window.shape, lambda *i: te.max(te.min(window(*i), high), low).astype("int8"), name="y")


def _gradient_max(y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder) -> list[relax.Expr]:
    attrs, (x,) = attributes(call), call.args
    if (attrs["y_min"], attrs["y_max"]) != (-128, 127):
        adjoint = builder.emit(error.mask(adjoint, y, y_min=attrs["y_min"], y_max=attrs["y_max"], layer=attrs["layer"]))
    return [max_pool2d_dgrad(adjoint, x, **_window_attrs(attrs, x))]


def _compute_max_dgrad(e: te.Tensor, x: te.Tensor, **a: Any) -> te.Tensor:
    _, channels, height, width = shape(x)
    (k_h, k_w), result = a["kernel"], ACCUMULATOR[str(e.dtype)]
    largest = _reduce(x, a, te.max, -129, 0)
    ky, kx = te.reduce_axis((0, k_h)), te.reduce_axis((0, k_w))

    def candidate(c: Any, oy: Any, ox: Any) -> Any:
        row, col = _place(a, oy, ox, ky, kx)
        here = tirx.if_then_else(_inside(row, col, height, width), x[0, c, row, col].astype("int32"), i32(-130))
        return tirx.Select(here == largest[0, c, oy, ox], ky * k_w + kx, i32(k_h * k_w))

    dims = (channels, *a["out_size"])
    first = te.compute(dims, lambda c, oy, ox: te.min(candidate(c, oy, ox), axis=[ky, kx]), name="first")

    def term(c: Any, oy: Any, ox: Any, index: Any) -> Any:
        return tirx.Select(first[c, oy, ox] == index, e[0, c, oy, ox].astype(result), tirx.const(0, result))

    return _gather(a, channels, result, term)


def _lower_max_dgrad(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, (e, x) = attributes(call), (low.name(v) for v in call.args)
    args = (_struct(shape(var), attrs), Ref(e), ErrorType(e), Ref(x))
    low.error_call("mg_max_pool2d_dgrad", attrs["layer"], args, [e, x], var)


def _lower_max(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    _lower(low, var, call, "MaxPool", "mg_max_pool2d_s8", ())


max_pool2d = define(
    "max_pool2d", _infer, _compute_max, gradient=_gradient_max, lower=_lower_max, channels=same_channels
)
max_pool2d_dgrad = define(
    "max_pool2d_dgrad",
    lambda a, t: _error_result(a, t, ACCUMULATOR[dtype(t[0])]),
    _compute_max_dgrad,
    lower=_lower_max_dgrad,
)
