"""The classifier in float32: dequantized features, a dense layer, its gradient and update.

    dequantize: y = (x - zero) * scale            x int8, y float32, same shape; feature_error, its gradient, is where
                                                  the float32 head ends and the integer backward begins
    dense:      y[o] = (sum_i w[o,i] * x[i]) + b[o]      x (1, in), w (out, in), b (out,), y (1, out), all float32

Float32 here costs 4 bytes for each of a few thousand weights and is worth 2.3 points over an int8 head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te, tirx

from mcugrad.ops.operator import Attrs, Axis, Type, attributes, define, f32, i32, same_channels, shape
from mcugrad.ops.update import applies, like_first
from mcugrad.program import Apply, Argument, ErrorType, Null, Rate, Ref, Store, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

HEAD_RATE = 0.5  # the last layer learns at half the backbone's rate (NUMERICS.md)


# ---- dequantize ------------------------------------------------------------------------------------------------------


def _compute_dequantize(x: te.Tensor, *, x_scale: float, x_zero: int, **_: Any) -> te.Tensor:
    return te.compute(
        x.shape, lambda *i: (x(*i).astype("int32") - i32(x_zero)).astype("float32") * f32(x_scale), name="y"
    )


def _gradient_dequantize(
    _y: relax.Var, call: relax.Call, adjoint: relax.Var, _b: relax.BlockBuilder
) -> list[relax.Expr]:
    attrs = attributes(call)
    return [feature_error(adjoint, factor=attrs["x_scale"], layer=attrs["layer"])]


def _lower_feature_error(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, dy = attributes(call), low.name(call.args[0])
    out = low.vector(var, f"{attrs['layer']}.dfeatures")
    store = Store(out, base_factor=attrs["factor"])
    args = (Ref(dy), ErrorType(dy), Value(1), Value(low.buffers[dy].elements), store)
    low.call("mg_error_map", attrs["layer"], "DequantizeLinear", args, [dy], [out], inplace=((out, dy),))


feature_error = define(
    "feature_error",
    lambda _, types: Type(shape(types[0]), "float32"),
    lambda v, factor, layer: te.compute(v.shape, lambda *i: v(*i) * f32(factor), name="dfeatures"),
    lower=_lower_feature_error,
)


def _lower_dequantize(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, x = attributes(call), low.name(call.args[0])
    out = low.vector(var, f"{attrs['layer']}.features")
    n = low.buffers[x].elements
    args = (Ref(x), Value(n), Value(attrs["x_scale"]), Value(attrs["x_zero"]), Ref(out))
    low.call("mg_dequantize_s8", attrs["layer"], "DequantizeLinear", args, [x], [out])


dequantize = define(
    "dequantize",
    lambda _, types: Type(shape(types[0]), "float32"),
    _compute_dequantize,
    gradient=_gradient_dequantize,
    lower=_lower_dequantize,
    channels=same_channels,
)


# ---- dense -----------------------------------------------------------------------------------------------------------


def _infer_dense(_: Attrs, types: Sequence[Type]) -> Type:
    return Type((1, shape(types[1])[0]), "float32")


def _compute_dense(x: te.Tensor, w: te.Tensor, b: te.Tensor, **_: Any) -> te.Tensor:
    n_out, n_in = shape(w)
    i = te.reduce_axis((0, n_in))
    acc = te.compute((1, n_out), lambda n, o: te.sum(w[o, i] * x[n, i], axis=i), name="acc")
    return te.compute((1, n_out), lambda n, o: acc[n, o] + b[o], name="y")


def _gradient_dense(
    _y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder
) -> list[relax.Expr]:
    x, w, _ = call.args
    layer = attributes(call)["layer"]
    return [
        dense_dgrad(adjoint, w, layer=layer),
        dense_wgrad(adjoint, x, layer=layer),
        relax.op.reshape(adjoint, (shape(w)[0],)),
    ]


def _lower_dense(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    x, w, b = (low.name(v) for v in call.args)
    layer, (n_out, n_in) = attributes(call)["layer"], shape(call.args[1])
    out = low.vector(var, f"{layer}.y")
    args = (Ref(w), Ref(b), Ref(x), Value(n_in), Value(n_out), Ref(out))
    low.call("mg_dense_f32", layer, "Gemm", args, [w, b, x], [out], work="forward", macs=n_in * n_out)


def input_channels(_: relax.Var, call: relax.Call) -> list[list[Axis]]:
    """Features and the weight's columns: in another order the sums are taken in another order, too."""
    x, w, *_ = call.args
    return [[(x, 1), (w, 1)]]


dense = define(
    "dense", _infer_dense, _compute_dense, gradient=_gradient_dense, lower=_lower_dense, channels=input_channels
)


def _compute_dgrad(dy: te.Tensor, w: te.Tensor, **_: Any) -> te.Tensor:
    n_out, n_in = shape(w)
    o = te.reduce_axis((0, n_out))
    return te.compute((1, n_in), lambda n, i: te.sum(w[o, i] * dy[n, o], axis=o), name="dx")


def _lower_dgrad(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    dy, w = (low.name(v) for v in call.args)
    layer, (n_out, n_in) = attributes(call)["layer"], shape(call.args[1])
    out = low.vector(var, f"{layer}.dx")
    args = (Ref(w), Ref(dy), Value(n_in), Value(n_out), Ref(out))
    low.call("mg_dense_dgrad_f32", layer, "Gemm", args, [w, dy], [out], work="dgrad", macs=n_in * n_out)


def _compute_wgrad(dy: te.Tensor, x: te.Tensor, **_: Any) -> te.Tensor:
    return te.compute((shape(dy)[1], shape(x)[1]), lambda o, i: dy[0, o] * x[0, i], name="dw")


dense_dgrad = define(
    "dense_dgrad", lambda _, types: Type((1, shape(types[1])[1]), "float32"), _compute_dgrad, lower=_lower_dgrad
)
dense_wgrad = define(
    "dense_wgrad", lambda _, types: Type((shape(types[0])[1], shape(types[1])[1]), "float32"), _compute_wgrad
)


# ---- update: w and b of one layer in one kernel call -----------------------------------------------------------------


def _compute_update(p: te.Tensor, gradient: te.Tensor, lr: te.Tensor, **_: Any) -> te.Tensor:
    rate = te.compute((1,), lambda i: lr[i] * f32(HEAD_RATE), name="rate")
    return te.compute(p.shape, lambda *i: p(*i) - gradient(*i) * rate[0], name="updated")


def _lower_update(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    parameter, name = low.definition(call.args[1]), low.name(call.args[0])
    rate = Rate(HEAD_RATE)
    if len(shape(var)) == 2:
        dy, x = (low.name(v) for v in parameter.args)
        n_out, n_in = shape(var)
        args: tuple[Argument, ...] = (Ref(x), Ref(dy), Value(n_in), Value(n_out), rate, Ref(name), Null())
        macs, reads = n_in * n_out, [x, dy]
    else:
        dy = low.name(call.args[1])
        args = (Null(), Ref(dy), Value(0), Value(shape(var)[0]), rate, Null(), Ref(name))
        macs, reads = 0, [dy]
    low.update_call("mg_dense_update_f32", low.buffers[name].layer, "Gemm", args, reads, name, var, macs=macs)


dense_update = define("dense_update", like_first, _compute_update, lower=_lower_update)


# ---- the same over k samples: total = pending + gradient * (rate / k); every k-th step: p' = p - total ---------------


def _compute_total(pending: te.Tensor, gradient: te.Tensor, lr: te.Tensor, *, accumulate: int) -> te.Tensor:
    rate = te.compute((1,), lambda i: lr[i] * f32(HEAD_RATE / accumulate), name="rate")
    return te.compute(pending.shape, lambda *i: pending(*i) + gradient(*i) * rate[0], name="total")


def _compute_apply(p: te.Tensor, total: te.Tensor, step: te.Tensor, *, accumulate: int) -> te.Tensor:
    move = applies(step, accumulate)
    return te.compute(p.shape, lambda *i: tirx.Select(move, p(*i) - total(*i), p(*i)), name="applied")


def _compute_pending(total: te.Tensor, step: te.Tensor, *, accumulate: int) -> te.Tensor:
    move = applies(step, accumulate)
    return te.compute(total.shape, lambda *i: tirx.Select(move, f32(0.0), total(*i)), name="pending")


def _lower_apply(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    """A bias is the weight of an input that is 1."""
    total, name = low.definition(call.args[1]), low.name(call.args[0])
    pending, rate = low.name(total.args[0]), Rate(HEAD_RATE / attributes(call)["accumulate"])
    if len(shape(var)) == 2:
        dy, x = (low.name(v) for v in low.definition(total.args[1]).args)
        n_out, n_in = shape(var)
    else:
        dy, x = low.name(total.args[1]), low.constant(f"{name}.input", [1.0], "float32")
        n_out, n_in = shape(var)[0], 1
    args = (Ref(x), Ref(dy), Value(n_in), Value(n_out), rate, Apply(), Ref(pending), Ref(name))
    macs, kernel = n_in * n_out if len(shape(var)) == 2 else 0, "mg_dense_update_accumulate_f32"
    low.update_call(kernel, low.buffers[name].layer, "Gemm", args, [x, dy], name, var, macs=macs, rest=pending)


dense_total = define("dense_total", like_first, _compute_total)
dense_apply = define("dense_apply", like_first, _compute_apply, lower=_lower_apply)
dense_pending = define("dense_pending", like_first, _compute_pending)
