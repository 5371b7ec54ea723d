"""Convolution, dense, grouped or depthwise; also Gemm and MatMul, which are 1x1 convolutions of one position.

    y[oc,oy,ox] = requantize(b[oc] + sum_{ic,ky,kx} (x[ic,iy,ix] - x_zero) * w[oc,ic,ky,kx])
    iy = oy*stride_h + ky*dilation_h - pad_top,  ix = ox*stride_w + kx*dilation_w - pad_left

x int8 (1, in_c, in_h, in_w), w int8 (out_c, in_c/groups, k_h, k_w), b int32 (out_c,) in units of x_scale * w_scale,
scale float32 (out_c,) = x_scale * w_scale / y_scale, y int8 (1, out_c, out_h, out_w); ic counts within the group of oc.
Padding is real zero. The arithmetic is onnxruntime's QLinearConv bit for bit (NUMERICS.md). w is symmetric unless a
fifth argument follows, the constant w_zero int8 (out_c,): then w - w_zero[oc] takes the place of w, also in dL/dx.

Gradients (straight-through; e is the error of the accumulator, e = mask * scale * dL/dy):

    dL/dx = sum e * w        dL/dw = sum e * (x - x_zero)        dL/db = sum e
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvm import relax, te, tirx

from mcugrad.descriptors import conv2d_rows, depthwise_dgrad_scratch, depthwise_scratch, layout, weights
from mcugrad.errors import McugradError
from mcugrad.ops import error
from mcugrad.ops.operator import (
    ACCUMULATOR,
    Attrs,
    Axis,
    Type,
    attributes,
    clamp_round,
    define,
    dtype,
    i32,
    no_adjoint,
    shape,
)
from mcugrad.program import Argument, KernelCall, Ref, Struct, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

DEPTHWISE = "mg_depthwise_conv2d_rows_s8"
MAX_TERMS = 65_535  # |x - x_zero| <= 255, |w| <= 128: as many products fit an int32 accumulator
MAX_DGRAD_TERMS = 131_071  # |e| <= 128, |w| <= 128
MAX_ASYMMETRIC_TERMS = 33_025  # |x - x_zero| <= 255, |w - w_zero| <= 255
MAX_ASYMMETRIC_DGRAD_TERMS = 65_793  # |e| <= 128, |w - w_zero| <= 255
MAX_POSITIONS = 66_311  # |e| <= 127, |x - x_zero| <= 255


def output_size(size: int, kernel: int, stride: int, dilation: int, pad_begin: int, pad_end: int) -> int:
    """Positions of a window along one axis (ONNX Conv, floor mode)."""
    return (size + pad_begin + pad_end - dilation * (kernel - 1) - 1) // stride + 1


def _infer(attrs: Attrs, types: Sequence[Type]) -> Type:
    (_, _, height, width), (out_c, _, k_h, k_w) = shape(types[0]), shape(types[1])
    (s_h, s_w), (d_h, d_w), (top, left, bottom, right) = attrs["stride"], attrs["dilation"], attrs["pads"]
    out_h = output_size(height, k_h, s_h, d_h, top, bottom)
    return Type((1, out_c, out_h, output_size(width, k_w, s_w, d_w, left, right)), "int8")


def _inside(row: tirx.PrimExpr, col: tirx.PrimExpr, height: int, width: int) -> tirx.PrimExpr:
    return tirx.all(row >= 0, row < height, col >= 0, col < width)


def _centred(w: te.Tensor, w_zero: Sequence[te.Tensor], *at: tirx.PrimExpr) -> tirx.PrimExpr:
    """The weight at (oc, ...) less its zero point, int32; `w_zero` is empty for symmetric weights."""
    value = w(*at).astype("int32")
    return value - w_zero[0][at[0]].astype("int32") if w_zero else value


def _compute(x: te.Tensor, w: te.Tensor, b: te.Tensor, scale: te.Tensor, *w_zero: te.Tensor, **a: object) -> te.Tensor:
    attrs: Attrs = dict(a)
    out = shape(_infer(attrs, [Type(shape(x), "int8"), Type(shape(w), "int8")]))
    (_, _, height, width), (out_c, group_c, k_h, k_w) = shape(x), shape(w)
    (s_h, s_w), (d_h, d_w), (top, left, _, _) = attrs["stride"], attrs["dilation"], attrs["pads"]
    per_group, zero = out_c // attrs["groups"], attrs["x_zero"]
    ic, ky, kx = te.reduce_axis((0, group_c)), te.reduce_axis((0, k_h)), te.reduce_axis((0, k_w))

    def product(oc: tirx.PrimExpr, oy: tirx.PrimExpr, ox: tirx.PrimExpr) -> tirx.PrimExpr:
        row, col = oy * s_h + ky * d_h - top, ox * s_w + kx * d_w - left
        value = x[0, tirx.indexdiv(oc, per_group) * group_c + ic, row, col].astype("int32") - i32(zero)
        weight = _centred(w, w_zero, oc, ic, ky, kx)
        return tirx.if_then_else(_inside(row, col, height, width), value * weight, i32(0))

    acc = te.compute(out, lambda n, oc, oy, ox: te.sum(product(oc, oy, ox), axis=[ic, ky, kx]), name="acc")
    limits = attrs["y_zero"], attrs["y_min"], attrs["y_max"]
    return te.compute(
        out,
        lambda n, oc, oy, ox: clamp_round((acc[n, oc, oy, ox] + b[oc]).astype("float32") * scale[oc], *limits),
        name="y",
    )


def _gradient(y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder) -> list[relax.Expr]:
    x, w, _, scale, *w_zero = call.args
    attrs = attributes(call)
    scaled = builder.emit(error.channel_scale(adjoint, scale))
    e = builder.emit(error.mask(scaled, y, y_min=attrs["y_min"], y_max=attrs["y_max"], layer=attrs["layer"]))
    _, _, height, width = shape(x)
    return [
        conv2d_dgrad(e, w, *w_zero, in_h=height, in_w=width, **attrs),
        conv2d_wgrad(e, x, k_h=shape(w)[2], k_w=shape(w)[3], **attrs),
        bias_grad(e, layer=attrs["layer"]),
        *(no_adjoint(constant) for constant in (scale, *w_zero)),
    ]


def _geometry(x: Sequence[int], w: Sequence[int], y: Sequence[int], attrs: Attrs) -> Struct:
    (s_h, s_w), (d_h, d_w), (top, left, _, _) = attrs["stride"], attrs["dilation"], attrs["pads"]
    fields = {"in_c": x[1], "in_h": x[2], "in_w": x[3], "out_c": y[1], "out_h": y[2], "out_w": y[3]}
    fields |= {"k_h": w[2], "k_w": w[3], "stride_h": s_h, "stride_w": s_w, "dilation_h": d_h, "dilation_w": d_w}
    fields |= {"pad_top": top, "pad_left": left}
    fields |= {name: attrs[name] for name in ("groups", "x_zero", "y_zero", "y_min", "y_max")}
    return Struct("mg_conv2d_t", tuple(fields.items()))


def _macs(w: Sequence[int], y: Sequence[int]) -> int:
    return y[1] * y[2] * y[3] * w[1] * w[2] * w[3]


def _check_sum(layer: str, what: str, terms: int, limit: int) -> None:
    """Raises McugradError where an int32 accumulator could overflow."""
    if terms > limit:
        raise McugradError(
            f"layer '{layer}': {what} sums {terms} products, and an int32 accumulator is safe up to {limit}: "
            "split the layer, or make it smaller"
        )


def _zero_names(low: Lowering, attrs: Attrs, w_zero: Sequence[relax.Expr]) -> list[str]:
    return [low.name(zero, f"{attrs['layer']}.w_zero") for zero in w_zero]


def _lower(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    x, w, b, scale, *w_zero = call.args
    attrs, xs, ws, ys = attributes(call), shape(x), shape(w), shape(var)
    limit = MAX_ASYMMETRIC_TERMS if w_zero else MAX_TERMS
    _check_sum(attrs["layer"], "one output", ws[1] * ws[2] * ws[3], limit)
    kernel = "mg_conv2d_s8"
    if w_zero:
        kernel = "mg_conv2d_asymmetric_s8"
    elif xs[2:] == ys[2:] == ws[2:] == (1, 1) and attrs["groups"] == 1:
        kernel = "mg_fully_connected_s8"
    elif attrs["groups"] == xs[1] and xs[1] > 1:
        _lower_depthwise(low, var, call)
        return
    out = low.activation(var, attrs)
    names = [low.name(x), low.name(w), *_zero_names(low, attrs, w_zero), low.name(b)]
    names.append(low.name(scale, f"{attrs['layer']}.scale"))
    args: tuple[Argument, ...] = (_geometry(xs, ws, ys, attrs), *(Ref(n) for n in names), Ref(out))
    low.call(kernel, attrs["layer"], "Conv", args, names, [out], work="forward", macs=_macs(ws, ys))


def _lower_depthwise(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    x, w, b, scale = call.args
    attrs, xs, ws, ys = attributes(call), shape(x), shape(w), shape(var)
    layer, out = attrs["layer"], low.activation(var, attrs)
    scratch = low.scratch(layer, depthwise_scratch(ws, ys, attrs, ys[2]))
    constants = low.name(w), low.name(b), low.name(scale, f"{layer}.scale")
    rows = conv2d_rows(_geometry(xs, ws, ys, attrs), layout(xs), layout(ys))
    operands = Ref(low.name(x)), weights(*map(Ref, constants)), Ref(scratch), Ref(out)
    args = (rows, Value(0), Value(ys[2]), *operands)
    reads = [low.name(x), *constants]
    low.call(DEPTHWISE, layer, "Conv", args, reads, [out, scratch], work="forward", macs=_macs(ws, ys))


def _channels(var: relax.Var, call: relax.Call) -> list[list[Axis]]:
    """Dense: inputs and outputs. Depthwise, one output an input: both are the same. Grouped: none."""
    (x, w, *per_output), groups = call.args, attributes(call)["groups"]
    outputs = [(var, 1), (w, 0), *((vector, 0) for vector in per_output)]
    if groups == 1:
        return [[(x, 1), (w, 1)], outputs]
    return [[(x, 1), *outputs]] if groups == shape(x)[1] == shape(var)[1] else []


conv2d = define("conv2d", _infer, _compute, gradient=_gradient, lower=_lower, channels=_channels)


# ---- dgrad -----------------------------------------------------------------------------------------------------------


def _infer_dgrad(attrs: Attrs, types: Sequence[Type]) -> Type:
    in_c = shape(types[1])[1] * attrs["groups"]
    return Type((1, in_c, attrs["in_h"], attrs["in_w"]), ACCUMULATOR[dtype(types[0])])


def _compute_dgrad(e: te.Tensor, w: te.Tensor, *w_zero: te.Tensor, **a: object) -> te.Tensor:
    attrs: Attrs = dict(a)
    (_, _, out_h, out_w), (out_c, group_c, k_h, k_w) = shape(e), shape(w)
    (s_h, s_w), (d_h, d_w), (top, left, _, _) = attrs["stride"], attrs["dilation"], attrs["pads"]
    per_group, acc = out_c // attrs["groups"], ACCUMULATOR[str(e.dtype)]
    oc, ky, kx = te.reduce_axis((0, per_group)), te.reduce_axis((0, k_h)), te.reduce_axis((0, k_w))

    def product(ic: tirx.PrimExpr, iy: tirx.PrimExpr, ix: tirx.PrimExpr) -> tirx.PrimExpr:
        channel = tirx.indexdiv(ic, group_c) * per_group + oc
        row, col = iy + top - ky * d_h, ix + left - kx * d_w
        oy, ox = tirx.floordiv(row, s_h), tirx.floordiv(col, s_w)
        hit = tirx.all(oy * s_h == row, ox * s_w == col, _inside(oy, ox, out_h, out_w))
        weight = _centred(w, w_zero, channel, tirx.indexmod(ic, group_c), ky, kx).astype(acc)
        return tirx.if_then_else(hit, e[0, channel, oy, ox].astype(acc) * weight, tirx.const(0, acc))

    out = (1, group_c * attrs["groups"], attrs["in_h"], attrs["in_w"])
    return te.compute(out, lambda n, ic, iy, ix: te.sum(product(ic, iy, ix), axis=[oc, ky, kx]), name="dx")


def _lower_dgrad(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    e, w, *w_zero = call.args
    attrs, ws = attributes(call), shape(w)
    if dtype(e) == "int8":
        limit = MAX_ASYMMETRIC_DGRAD_TERMS if w_zero else MAX_DGRAD_TERMS
        _check_sum(attrs["layer"], "one input's gradient", ws[0] // attrs["groups"] * ws[2] * ws[3], limit)
    geometry = _geometry(shape(var), ws, shape(e), attrs)
    reads = [low.name(e), low.name(w), *_zero_names(low, attrs, w_zero)]
    args: tuple[Argument, ...] = (geometry, *(Ref(n) for n in reads))
    kernel, scratch = f"mg_conv2d_{'asymmetric_' if w_zero else ''}dgrad_{low.suffix(e)}", []
    one_to_one = attrs["groups"] == shape(e)[1] == shape(var)[1] > 1
    if one_to_one and dtype(e) == "int8" and not w_zero:
        kernel = "mg_depthwise_conv2d_dgrad_s8"
        scratch = [low.scratch(attrs["layer"], depthwise_dgrad_scratch(ws, shape(var), attrs))]
        args = (*args, Ref(scratch[0]))
    low.error_call(kernel, attrs["layer"], args, reads, var, scratch=scratch, work="dgrad", macs=_macs(ws, shape(e)))


conv2d_dgrad = define("conv2d_dgrad", _infer_dgrad, _compute_dgrad, lower=_lower_dgrad)


# ---- wgrad, bias gradient: their results exist only inside the update kernels (ops/update.py) ------------------------


def _infer_wgrad(attrs: Attrs, types: Sequence[Type]) -> Type:
    weight = (shape(types[0])[1], shape(types[1])[1] // attrs["groups"], attrs["k_h"], attrs["k_w"])
    return Type(weight, ACCUMULATOR[dtype(types[0])])


def _compute_wgrad(e: te.Tensor, x: te.Tensor, **a: object) -> te.Tensor:
    attrs: Attrs = dict(a)
    (_, out_c, out_h, out_w), (_, in_c, height, width) = shape(e), shape(x)
    (s_h, s_w), (d_h, d_w), (top, left, _, _) = attrs["stride"], attrs["dilation"], attrs["pads"]
    group_c, per_group = in_c // attrs["groups"], out_c // attrs["groups"]
    acc, zero = ACCUMULATOR[str(e.dtype)], attrs["x_zero"]
    oy, ox = te.reduce_axis((0, out_h)), te.reduce_axis((0, out_w))

    def product(oc: tirx.PrimExpr, ic: tirx.PrimExpr, ky: tirx.PrimExpr, kx: tirx.PrimExpr) -> tirx.PrimExpr:
        row, col = oy * s_h + ky * d_h - top, ox * s_w + kx * d_w - left
        value = x[0, tirx.indexdiv(oc, per_group) * group_c + ic, row, col].astype("int32") - i32(zero)
        inside = _inside(row, col, height, width)
        return tirx.if_then_else(inside, e[0, oc, oy, ox].astype(acc) * value.astype(acc), tirx.const(0, acc))

    out = (out_c, group_c, attrs["k_h"], attrs["k_w"])
    return te.compute(out, lambda oc, ic, ky, kx: te.sum(product(oc, ic, ky, kx), axis=[oy, ox]), name="dw")


conv2d_wgrad = define("conv2d_wgrad", _infer_wgrad, _compute_wgrad)


def wgrad_call(low: Lowering, call: relax.Call, w: Sequence[int], variant: str) -> KernelCall:
    """The head of the fused wgrad + update kernel: geometry, error, input. `w` is the weight's shape; `variant` comes
    before the error type in the kernel's name."""
    e, x = call.args
    attrs = attributes(call)
    if dtype(e) == "int8":
        _check_sum(attrs["layer"], "one weight's gradient", shape(e)[2] * shape(e)[3], MAX_POSITIONS)
    geometry = _geometry(shape(x), w, shape(e), attrs)
    args = (geometry, Ref(low.name(e)), Ref(low.name(x)))
    kernel = f"mg_conv2d_update_weight_{variant}{low.suffix(e)}"
    names = (low.name(e), low.name(x))
    return KernelCall(kernel, attrs["layer"], "Conv", args, names, (), work="wgrad", macs=_macs(w, shape(e)))


def _infer_bias(attrs: Attrs, types: Sequence[Type]) -> Type:
    return Type((shape(types[0])[1],), ACCUMULATOR[dtype(types[0])])


def _compute_bias(e: te.Tensor, **_attrs: object) -> te.Tensor:
    (_, channels, height, width), acc = shape(e), ACCUMULATOR[str(e.dtype)]
    oy, ox = te.reduce_axis((0, height)), te.reduce_axis((0, width))
    return te.compute((channels,), lambda c: te.sum(e[0, c, oy, ox].astype(acc), axis=[oy, ox]), name="db")


bias_grad = define("bias_grad", _infer_bias, _compute_bias)
