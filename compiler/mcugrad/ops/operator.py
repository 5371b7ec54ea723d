"""How an operator is declared.

Every operator of the compiler is one `Operator`, registered in Relax from one file of this folder: its type, its
meaning as tensor expressions (TE), its gradient, which of its axes count the same channels and the C kernel it lowers
to. `Gradient` rules return float32 adjoints, one an argument; `no_adjoint` stands for arguments that have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tvm import relax, te, tirx
from tvm.ir import Op, make_node, register_op_attr

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

Attrs = dict[str, Any]
Type: TypeAlias = relax.TensorType
Infer = Callable[[Attrs, Sequence[Type]], Type]
Compute = Callable[..., te.Tensor]
Gradient = Callable[[relax.Var, relax.Call, relax.Var, relax.BlockBuilder], list[relax.Expr]]
Axis = tuple[relax.Expr, int]  # an axis of an operand or of the result
Channels = Callable[[relax.Var, relax.Call], list[list[Axis]]]
Lower = Callable[["Lowering", relax.Var, relax.Call], None]

ACCUMULATOR = {"int8": "int32", "int16": "int64", "float32": "float32"}


@dataclass(frozen=True)
class Operator:
    """`infer(attrs, types)`, `compute(*tensors, **attrs)`, `gradient(var, call, adjoint, builder)`, `lower(...)`.

    `channels(var, call)`: groups of axes; permuting the axes of a group alike changes nothing but their order. An axis
    in no group keeps its order. None: there are no groups.
    """

    name: str
    infer: Infer
    compute: Compute
    gradient: Gradient | None
    lower: Lower | None
    channels: Channels | None


_OPERATORS: dict[str, Operator] = {}


def define(
    name: str,
    infer: Infer,
    compute: Compute,
    *,
    gradient: Gradient | None = None,
    lower: Lower | None = None,
    channels: Channels | None = None,
) -> Callable[..., relax.Call]:
    """Register `mg.<name>` in Relax; returns the function that builds a call of it from arguments and attributes."""
    full = f"mg.{name}"
    _OPERATORS[full] = Operator(full, infer, compute, gradient, lower, channels)
    register_op_attr(full, "FInferType", lambda call, _builder: infer(attributes(call), [a.ty for a in call.args]))
    register_op_attr(full, "FPurity", True)
    if gradient is not None:
        register_op_attr(full, "FPrimalGradient", gradient)

    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        attrs = attributes(call)
        return builder.call_te(lambda *tensors: compute(*tensors, **attrs), *call.args, primfunc_name_hint=name)

    register_op_attr(full, "FLegalize", legalize)

    def build(*args: relax.Expr, **attrs: Any) -> relax.Call:
        return relax.Call(Op.get(full), list(args), make_node("ir.DictAttrs", **attrs))

    return build


def operator(call: relax.Call) -> Operator | None:
    """The operator that `call` calls; None for Relax's own."""
    return _OPERATORS.get(call.op.name) if isinstance(call.op, Op) else None


def attributes(call: relax.Call) -> Attrs:
    """The attributes as Python values; lists come back as tuples."""
    if call.attrs is None:
        return {}
    plain = (int, float, str, bool)
    return {k: v if isinstance(v := call.attrs[k], plain) else tuple(v) for k in call.attrs.keys()}  # noqa: SIM118


def shape(value: relax.Expr | Type | te.Tensor) -> tuple[int, ...]:
    """The static shape of an expression, a type or a tensor."""
    dims = value.shape if isinstance(value, (te.Tensor, relax.TensorType)) else value.ty.shape
    return tuple(int(d) for d in dims)


def dtype(value: relax.Expr | Type) -> str:
    return str((value if isinstance(value, relax.TensorType) else value.ty).dtype)


def same_channels(var: relax.Var, call: relax.Call) -> list[list[Axis]]:
    """`channels` of an operator that computes each channel from the same channel of its operands."""
    return [[(var, 1), *((operand, 1) for operand in call.args)]]


def no_adjoint(value: relax.Expr) -> relax.Expr:
    """The adjoint of an argument that nobody differentiates by: zeros, dropped by dead-code elimination."""
    return relax.op.zeros(shape(value), "float32")


# ---- pieces of TE that several operators share ---------------------------------------------------------------------


def f32(value: float) -> tirx.PrimExpr:
    return tirx.const(value, "float32")


def i32(value: int) -> tirx.PrimExpr:
    return tirx.const(value, "int32")


def clamp_round(value: tirx.PrimExpr, zero: int, low: int, high: int) -> tirx.PrimExpr:
    """int8: clamp to [low - zero, high - zero], round half to even, add the zero point (as onnxruntime's MLAS)."""
    clamped = te.max(te.min(value, f32(high - zero)), f32(low - zero))
    return (tirx.nearbyint(clamped).astype("int32") + i32(zero)).astype("int8")
