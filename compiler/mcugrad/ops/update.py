"""In-place updates: SGD on the integer grid with quantisation-aware scaling (QAS) and stochastic rounding.

    w' = clamp(w + floor(u - acc * (lr * S * qas[c])), -127, 127)        qas[c] = w_scale[c]^-2
    b' = saturate_int32(b + floor(u - acc * (lr * S * qas[c])))          qas[c] = (x_scale * w_scale[c])^-2

acc * S is the gradient by the integer parameter; dividing by the squared scale makes the step that of the float
parameter (QAS, "On-Device Training Under 256KB Memory", section 3.1). u is uniform in [0, 1), so the expected step is
exact: E[floor(v + u)] = v. u is a hash of (seed, step, tensor, index), so every execution draws the same number.
Of a weight only some channels may train: `inputs` and `outputs` are the edges b0, e0, b1, e1, ... of the runs [b, e)
that do. The float32 head is plain SGD: w' = w - (dy * x) * lr.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, te, tirx

from mcugrad.descriptors import subset
from mcugrad.ops.operator import Attrs, Type, attributes, define, dtype, f32, i32, shape
from mcugrad.program import Argument, Null, Random, Rate, Ref, Value

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

GOLDEN = 0x9E3779B9
STEP_LIMIT = 1e9


def _u64(value: int) -> tirx.PrimExpr:
    return tirx.const(value, "uint64")


def _wrap(x: tirx.PrimExpr) -> tirx.PrimExpr:
    return x & _u64(0xFFFFFFFF)


def _mix(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """A 32-bit integer hash (C. Wellons, "lowbias32"), in uint64 reduced by hand.

    TVM tells LLVM that unsigned arithmetic does not wrap, and LLVM believes it.
    """
    x = _wrap((x ^ (x >> _u64(16))) * _u64(0x7FEB352D))
    x = _wrap((x ^ (x >> _u64(15))) * _u64(0x846CA68B))
    return x ^ (x >> _u64(16))


def random_key(seed: te.Tensor, step: te.Tensor, tensor: int) -> te.Tensor:
    """The key of one tensor's random stream at one step, uint64 (1,) below 2^32."""
    stream = _u64((0x85EBCA6B * tensor) & 0xFFFFFFFF)

    def at(i: tirx.Var) -> tirx.PrimExpr:
        start = _wrap(seed[i].astype("uint64") + _wrap(_u64(GOLDEN) * step[i].astype("uint64")))
        return _mix(_mix(start) ^ stream)

    return te.compute((1,), at, name="key")


def uniform(key: te.Tensor, dims: Sequence[int], *i: tirx.PrimExpr) -> tirx.PrimExpr:
    """u in [0, 1) of element `i` of a tensor of shape `dims`, by its flat index."""
    index = i[0]
    for axis in range(1, len(dims)):
        index = index * dims[axis] + i[axis]
    bits = _mix(_wrap(key[0] + _u64(GOLDEN) * index.astype("uint64")))
    return (bits >> _u64(8)).astype("float32") * f32(2.0**-24)


def floor_step(u: tirx.PrimExpr, acc: tirx.PrimExpr, factor: tirx.PrimExpr) -> tirx.PrimExpr:
    """floor(clamp(u - acc * factor, +-1e9)), int32."""
    change = u - acc.astype("float32") * factor
    return tirx.floor(te.max(te.min(change, f32(STEP_LIMIT)), f32(-STEP_LIMIT))).astype("int32")


def applies(step: te.Tensor, accumulate: int) -> tirx.PrimExpr:
    """Whether parameters move at this step, the last of `accumulate` in a row."""
    every = tirx.const(accumulate, "uint64")
    return tirx.truncmod(step[0].astype("uint64"), every) == tirx.const(accumulate - 1, "uint64")


def step_rate(lr: te.Tensor, s: te.Tensor, factor: float) -> te.Tensor:
    """lr * S * factor, float32 (1,)."""
    return te.compute((1,), lambda i: lr[i] * s[i] * f32(factor), name="rate")


def moved_weight(w: tirx.PrimExpr, move: tirx.PrimExpr) -> tirx.PrimExpr:
    """An int8 weight that moves by int32 quanta."""
    return te.max(te.min(w.astype("int32") + move, i32(127)), i32(-127)).astype("int8")


def moved_bias(b: tirx.PrimExpr, move: tirx.PrimExpr) -> tirx.PrimExpr:
    """An int32 bias that moves by int32 quanta, saturating."""
    moved, low, high = b.astype("int64") + move.astype("int64"), -(2**31), 2**31 - 1
    return te.max(te.min(moved, tirx.const(high, "int64")), tirx.const(low, "int64")).astype("int32")


def like_first(_: Attrs, types: Sequence[Type]) -> Type:
    return Type(shape(types[0]), dtype(types[0]))


def member(channel: tirx.Var, edges: Sequence[int]) -> tirx.PrimExpr:
    """Whether `channel` trains: `edges` are begin and end of every run of channels that do."""
    runs = [tirx.all(channel >= b, channel < e) for b, e in zip(edges[::2], edges[1::2], strict=True)]
    return tirx.any(*runs) if len(runs) > 1 else runs[0]


def _compute_weight(w: te.Tensor, acc: te.Tensor, qas: te.Tensor, *more: te.Tensor, **a: Any) -> te.Tensor:
    s, lr, seed, step = more
    key = random_key(seed, step, a["tensor"])
    rate = step_rate(lr, s, a["rate"])

    def at(oc: tirx.Var, ic: tirx.Var, ky: tirx.Var, kx: tirx.Var) -> tirx.PrimExpr:
        u = uniform(key, shape(w), oc, ic, ky, kx)
        move = floor_step(u, acc[oc, ic, ky, kx], rate[0] * qas[oc])
        alive = qas[oc] != f32(0.0)  # the kernel does not visit a dead channel, even to clamp -128
        trained = tirx.all(alive, member(oc, a["outputs"]), member(ic, a["inputs"]))
        return tirx.Select(trained, moved_weight(w[oc, ic, ky, kx], move), w[oc, ic, ky, kx])

    return te.compute(w.shape, at, name="w")


def _compute_bias(
    b: te.Tensor, acc: te.Tensor, qas: te.Tensor, *more: te.Tensor, tensor: int, rate: float, **_: Any
) -> te.Tensor:
    s, lr, seed, step = more
    key, scaled = random_key(seed, step, tensor), step_rate(lr, s, rate)

    def at(c: tirx.Var) -> tirx.PrimExpr:
        return moved_bias(b[c], floor_step(uniform(key, shape(b), c), acc[c], scaled[0] * qas[c]))

    return te.compute(b.shape, at, name="b")


def _runs(low: Lowering, name: str, edges: Sequence[int]) -> tuple[Ref | Null, int]:
    """Pointer and count of one side of mg_subset_t: only what is not one run from 0 on needs a table."""
    if len(edges) == 2 and edges[0] == 0:
        return Null(), edges[1]
    return Ref(low.constant(name, edges, "uint16")), len(edges) // 2


def count(edges: Sequence[int]) -> int:
    """How many channels the runs hold."""
    return sum(edges[1::2]) - sum(edges[::2])


def lower_weight(
    low: Lowering,
    var: relax.Var,
    weight: relax.Expr,
    gradient: tuple[relax.Expr, relax.Expr],
    attrs: Attrs,
    rounding: Sequence[Argument],
    *,
    variant: str = "",
    rest: str | None = None,
) -> None:
    """The fused wgrad + update of `weight`; `gradient` is (accumulator, QAS factors). `rounding`: what the kernels of
    `variant` (the infix of their name) take in its place; `rest`: the state in it."""
    from mcugrad.ops.conv2d import wgrad_call  # conv2d owns the geometry; its module imports errors, not updates

    (acc, qas), name, ws = gradient, low.name(weight), shape(weight)
    head = wgrad_call(low, low.definition(acc), ws, variant)
    inputs, outputs = (_runs(low, f"{name}.{s}", attrs[s]) for s in ("inputs", "outputs"))
    macs = head.macs * count(attrs["inputs"]) * count(attrs["outputs"]) // (ws[0] * ws[1])
    factors = low.name(qas, f"{name}.qas")
    rate = Rate(attrs["rate"], low.scaled_error(low.definition(acc).args[0]))
    args = (*head.args, subset(inputs, outputs, ws[1]), Ref(factors), rate, *rounding, Ref(name))
    reads = [*head.reads, factors]
    low.update_call(
        head.kernel, head.layer, "Conv", args, reads, name, var, macs=macs, rest=rest, returns_saturated=True
    )


def lower_bias(
    low: Lowering,
    var: relax.Var,
    bias: relax.Expr,
    gradient: tuple[relax.Expr, relax.Expr],
    attrs: Attrs,
    rounding: Sequence[Argument],
    *,
    variant: str = "",
    rest: str | None = None,
) -> None:
    """As `lower_weight`, of a bias."""
    (acc, qas), name = gradient, low.name(bias)
    e = low.definition(acc).args[0]
    _, channels, height, width = shape(e)
    factors = low.name(qas, f"{name}.qas")
    rate = Rate(attrs["rate"], low.scaled_error(e))
    args = (Ref(low.name(e)), Value(channels), Value(height * width), Ref(factors), rate, *rounding, Ref(name))
    kernel = f"mg_update_bias_{variant}{low.suffix(e)}"
    low.update_call(kernel, attrs["layer"], "Conv", args, [low.name(e), factors], name, var, rest=rest)


def _lower_weight(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    w, acc, qas = call.args[:3]
    attrs = attributes(call)
    lower_weight(low, var, w, (acc, qas), attrs, [Random(attrs["tensor"])])


def _lower_bias(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    b, acc, qas = call.args[:3]
    attrs = attributes(call)
    lower_bias(low, var, b, (acc, qas), attrs, [Random(attrs["tensor"])])


update_weight = define("update_weight", like_first, _compute_weight, lower=_lower_weight)
update_bias = define("update_bias", like_first, _compute_bias, lower=_lower_bias)
