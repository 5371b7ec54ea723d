"""Losses of one sample and their gradients, float32.

    softmax_cross_entropy(x, label) = log(sum_i exp(x_i - max)) - (x_label - max)     x (1, n), label int32 (1,)
        gradient: exp(x_i - max) / sum - [i == label]
    mse(x, t) = (sum_i (x_i - t_i)^2) / n                                             x, t of one shape
        gradient: (x_i - t_i) * (2 / n)

exp and log are the runtime's polynomials (exp_log.c), operation by operation: libm's differ by an ulp between hosts,
and an ulp becomes a different weight. The loss is the function's result, so its own adjoint is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te, tirx

from mcugrad.ops.operator import Attrs, Type, define, f32, i32, no_adjoint, shape
from mcugrad.program import Label, Ref, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.63p-1"), -2.12194440e-4
_EXP = (1.3814596e-3, 8.3687175e-3, 4.166839e-2, 1.6666521e-1, 4.9999994e-1)
_LOG = (1.4936602e-1, 1.9988745e-1, 3.3333388e-1)
_SQRT_HALF = 0x3F3504F3


def _horner(coefficients: Sequence[float], x: Any) -> Any:
    value = f32(coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + f32(coefficient)
    return value


def exp_f32(x: Any) -> Any:
    """mg_exp_f32 of a TE expression. TVM simplifies the C's (v + 1.5 * 2^23) - 1.5 * 2^23, so round by name here."""
    n = tirx.nearbyint(x * f32(float.fromhex("0x1.715476p+0")))
    r = (x - n * f32(_LN2_HIGH)) - n * f32(_LN2_LOW)
    p = (_horner(_EXP, r) * (r * r) + r) + f32(1.0)
    power = tirx.reinterpret("float32", (n.astype("int32") + i32(127)) << i32(23))
    return tirx.Select(x > f32(-87.0), p * power, f32(0.0))


def log_f32(x: Any) -> Any:
    """mg_log_f32 of a TE expression."""
    bits = tirx.reinterpret("int32", x) + i32(0x3F800000 - _SQRT_HALF)
    k = ((bits >> i32(23)) - i32(127)).astype("float32")
    m = tirx.reinterpret("float32", (bits & i32(0x7FFFFF)) + i32(_SQRT_HALF))
    s = (m - f32(1.0)) / (m + f32(1.0))
    z = s * s
    twice = s + s
    return k * f32(_LN2_HIGH) + ((twice + twice * (z * _horner(_LOG, z))) + k * f32(_LN2_LOW))


def _scalar(_: Attrs, __: Sequence[Type]) -> Type:
    return Type((), "float32")


def _like_first(_: Attrs, types: Sequence[Type]) -> Type:
    return Type(shape(types[0]), "float32")


def _lower_loss(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    low.loss(var)


# ---- cross entropy ---------------------------------------------------------------------------------------------------


def _softmax(x: te.Tensor) -> tuple[te.Tensor, te.Tensor, te.Tensor]:
    """max, exp(x - max), their sum."""
    n = shape(x)[-1]
    i, j = te.reduce_axis((0, n)), te.reduce_axis((0, n))
    largest = te.compute((1,), lambda _: te.max(x[0, i], axis=i), name="largest")
    exps = te.compute((n,), lambda k: exp_f32(x[0, k] - largest[0]), name="exps")
    return largest, exps, te.compute((1,), lambda _: te.sum(exps[j], axis=j), name="sum")


def _compute_loss(x: te.Tensor, label: te.Tensor) -> te.Tensor:
    largest, _, total = _softmax(x)
    return te.compute((), lambda: log_f32(total[0]) - (x[0, label[0]] - largest[0]), name="loss")


def _compute_gradient(x: te.Tensor, label: te.Tensor) -> te.Tensor:
    _, exps, total = _softmax(x)

    def at(_: Any, i: Any) -> Any:
        return exps[i] / total[0] - tirx.Select(label[0] == i, f32(1.0), f32(0.0))

    return te.compute(x.shape, at, name="d")


def _gradient_cross_entropy(
    _y: relax.Var, call: relax.Call, _adjoint: relax.Var, _b: relax.BlockBuilder
) -> list[relax.Expr]:
    return [softmax_cross_entropy_grad(*call.args), no_adjoint(call.args[1])]


def _lower_cross_entropy(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    x = low.name(call.args[0])
    out = low.vector(var, "loss.dlogits")
    args = (Ref(x), Value(low.buffers[x].elements), Label(), Ref("loss"), Ref(out))
    low.call("mg_softmax_cross_entropy_f32", "loss", "Loss", args, [x], [out], inplace=())


softmax_cross_entropy = define(
    "softmax_cross_entropy", _scalar, _compute_loss, gradient=_gradient_cross_entropy, lower=_lower_loss
)
softmax_cross_entropy_grad = define(
    "softmax_cross_entropy_grad", _like_first, _compute_gradient, lower=_lower_cross_entropy
)


# ---- mean squared error ----------------------------------------------------------------------------------------------


def _compute_mse(x: te.Tensor, target: te.Tensor) -> te.Tensor:
    dims = shape(x)
    axes = [te.reduce_axis((0, d)) for d in dims]
    difference = te.compute(dims, lambda *i: x(*i) - target(*i), name="difference")
    total = te.compute((), lambda: te.sum(difference(*axes) * difference(*axes), axis=axes), name="total")
    return te.compute((), lambda: total() * (f32(1.0) / f32(float(math.prod(dims)))), name="loss")


def _compute_mse_gradient(x: te.Tensor, target: te.Tensor) -> te.Tensor:
    factor = f32(2.0) / f32(float(math.prod(shape(x))))
    return te.compute(x.shape, lambda *i: (x(*i) - target(*i)) * factor, name="d")


def _gradient_mse(_y: relax.Var, call: relax.Call, _adjoint: relax.Var, _b: relax.BlockBuilder) -> list[relax.Expr]:
    return [mse_grad(*call.args), no_adjoint(call.args[1])]


def _lower_mse(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    x, target = (low.name(v) for v in call.args)
    out = low.vector(var, "loss.dlogits")
    args = (Ref(x), Ref(target), Value(low.buffers[x].elements), Ref("loss"), Ref(out))
    low.call("mg_mse_f32", "loss", "Loss", args, [x, target], [out], inplace=((out, x),))


mse = define("mse", _scalar, _compute_mse, gradient=_gradient_mse, lower=_lower_loss)
mse_grad = define("mse_grad", _like_first, _compute_mse_gradient, lower=_lower_mse)
