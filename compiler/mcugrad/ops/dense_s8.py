"""The classifier in int8: a dense layer of int8 weights whose outputs are real numbers, as a loss wants them.

    y[o] = (b[o] + sum_i (x[i] - x_zero) * w[o,i]) * scale[o]        scale[o] = x_scale * w_scale[o]

x int8 (1, in, 1, 1), w int8 (out, in, 1, 1), b int32 (out,), scale float32 (out,), y float32 (1, out). Nothing
saturates, so nothing is masked. The integer backward begins at the logits: e = scale * dL/dy is an error like any
other, and its weight and input gradients are those of a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te

from mcugrad.ops import error
from mcugrad.ops.conv2d import bias_grad, conv2d_dgrad, conv2d_wgrad
from mcugrad.ops.dense import feature_error, input_channels
from mcugrad.ops.operator import Attrs, Type, attributes, define, i32, no_adjoint, shape
from mcugrad.program import Argument, Ref, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

_POINT = {"stride": [1, 1], "dilation": [1, 1], "pads": [0, 0, 0, 0], "groups": 1, "in_h": 1, "in_w": 1}
_UNUSED = {"y_zero": 0, "y_min": -128, "y_max": 127}


def _infer(_: Attrs, types: Sequence[Type]) -> Type:
    return Type((1, shape(types[1])[0]), "float32")


def _compute(x: te.Tensor, w: te.Tensor, b: te.Tensor, scale: te.Tensor, *, x_zero: int, **_: Any) -> te.Tensor:
    n_out, n_in = shape(w)[:2]
    i = te.reduce_axis((0, n_in))

    def product(o: Any) -> Any:
        return (x[0, i, 0, 0].astype("int32") - i32(x_zero)) * w[o, i, 0, 0].astype("int32")

    acc = te.compute((1, n_out), lambda n, o: te.sum(product(o), axis=i), name="acc")
    return te.compute((1, n_out), lambda n, o: (acc[n, o] + b[o]).astype("float32") * scale[o], name="y")


def _gradient(_y: relax.Var, call: relax.Call, adjoint: relax.Var, builder: relax.BlockBuilder) -> list[relax.Expr]:
    x, w, _, scale = call.args
    attrs = attributes(call)
    layer, geometry = attrs["layer"], {**_POINT, **_UNUSED, "x_zero": attrs["x_zero"], "layer": attrs["layer"]}
    begin = builder.emit(feature_error(adjoint, factor=1.0, layer=layer))
    column = builder.emit(relax.op.reshape(begin, (1, shape(w)[0], 1, 1)))
    e = builder.emit(error.channel_scale(column, scale))
    wgrad = conv2d_wgrad(e, x, k_h=1, k_w=1, **geometry)
    return [conv2d_dgrad(e, w, **geometry), wgrad, bias_grad(e, layer=layer), no_adjoint(scale)]


def _lower(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    attrs, (n_out, n_in) = attributes(call), shape(call.args[1])[:2]
    layer = attrs["layer"]
    names = [*(low.name(v) for v in call.args[:3]), low.name(call.args[3], f"{layer}.scale")]
    out = low.vector(var, f"{layer}.y")
    args: tuple[Argument, ...] = (*(Ref(n) for n in names), Value(n_in), Value(n_out), Value(attrs["x_zero"]), Ref(out))
    low.call("mg_dense_s8", layer, "Gemm", args, names, [out], work="forward", macs=n_in * n_out)


dense_s8 = define("dense_s8", _infer, _compute, gradient=_gradient, lower=_lower, channels=input_channels)
