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

from mcugrad.ops.operator import Attrs, Type, attributes, define, dtype, f32, i32, shape
from mcugrad.program import Null, Random, Rate, Ref, Value

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


def _uniform(key: te.Tensor, dims: Sequence[int]) -> te.Tensor:
    """u in [0, 1) of every element of a tensor, by its flat index."""

    def at(*i: tirx.Var) -> tirx.PrimExpr:
        index = i[0]
        for axis in range(1, len(dims)):
            index = index * dims[axis] + i[axis]
        bits = _mix(_wrap(key[0] + _u64(GOLDEN) * index.astype("uint64")))
        return (bits >> _u64(8)).astype("float32") * f32(2.0**-24)

    return te.compute(dims, at, name="u")


def _step(u: tirx.PrimExpr, acc: tirx.PrimExpr, factor: tirx.PrimExpr) -> tirx.PrimExpr:
    change = u - acc.astype("float32") * factor
    return tirx.floor(te.max(te.min(change, f32(STEP_LIMIT)), f32(-STEP_LIMIT))).astype("int32")


def _like_first(_: Attrs, types: Sequence[Type]) -> Type:
    return Type(shape(types[0]), dtype(types[0]))


def _member(channel: tirx.Var, edges: Sequence[int]) -> tirx.PrimExpr:
    """Whether `channel` trains: `edges` are begin and end of every run of channels that do."""
    runs = [tirx.all(channel >= b, channel < e) for b, e in zip(edges[::2], edges[1::2], strict=True)]
    return tirx.any(*runs) if len(runs) > 1 else runs[0]


def _compute_weight(w: te.Tensor, acc: te.Tensor, qas: te.Tensor, *more: te.Tensor, **a: Any) -> te.Tensor:
    s, lr, seed, step = more
    u = _uniform(random_key(seed, step, a["tensor"]), shape(w))
    rate = te.compute((1,), lambda i: lr[i] * s[i] * f32(a["rate"]), name="rate")

    def at(oc: tirx.Var, ic: tirx.Var, ky: tirx.Var, kx: tirx.Var) -> tirx.PrimExpr:
        move = _step(u[oc, ic, ky, kx], acc[oc, ic, ky, kx], rate[0] * qas[oc])
        moved = w[oc, ic, ky, kx].astype("int32") + move
        alive = qas[oc] != f32(0.0)  # the kernel does not visit a dead channel, even to clamp -128
        trained = tirx.all(alive, _member(oc, a["outputs"]), _member(ic, a["inputs"]))
        clamped = te.max(te.min(moved, i32(127)), i32(-127)).astype("int8")
        return tirx.Select(trained, clamped, w[oc, ic, ky, kx])

    return te.compute(w.shape, at, name="w")


def _compute_bias(
    b: te.Tensor, acc: te.Tensor, qas: te.Tensor, *more: te.Tensor, tensor: int, rate: float, **_: Any
) -> te.Tensor:
    s, lr, seed, step = more
    u = _uniform(random_key(seed, step, tensor), shape(b))
    scaled = te.compute((1,), lambda i: lr[i] * s[i] * f32(rate), name="rate")

    def at(c: tirx.Var) -> tirx.PrimExpr:
        moved = b[c].astype("int64") + _step(u[c], acc[c], scaled[0] * qas[c]).astype("int64")
        low, high = tirx.const(-(2**31), "int64"), tirx.const(2**31 - 1, "int64")
        return te.max(te.min(moved, high), low).astype("int32")

    return te.compute(b.shape, at, name="b")


def _runs(low: Lowering, name: str, edges: Sequence[int]) -> tuple[Ref | Null, int]:
    """Pointer and count of one side of mg_subset_t: only what is not one run from 0 on needs a table."""
    if len(edges) == 2 and edges[0] == 0:
        return Null(), edges[1]
    return Ref(low.constant(name, edges, "uint16")), len(edges) // 2


def _count(edges: Sequence[int]) -> int:
    return sum(edges[1::2]) - sum(edges[::2])


def _lower_weight(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    from mcugrad.ops.conv2d import wgrad_call  # conv2d owns the geometry; its module imports errors, not updates

    w, acc, qas = call.args[:3]
    attrs, name, ws = attributes(call), low.name(call.args[0]), shape(call.args[0])
    head = wgrad_call(low, low.definition(acc), ws)
    (inputs, n_inputs), (outputs, n_outputs) = (_runs(low, f"{name}.{s}", attrs[s]) for s in ("inputs", "outputs"))
    subset = low.subset(inputs, outputs, n_inputs, n_outputs)
    macs = head.macs * _count(attrs["inputs"]) * _count(attrs["outputs"]) // (ws[0] * ws[1])
    error = low.scaled_error(low.definition(acc).args[0])
    factors = Ref(low.name(qas, f"{name}.qas")), Rate(attrs["rate"], error), Random(attrs["tensor"])
    args = (*head.args, subset, *factors, Ref(name))
    reads = [*head.reads, low.name(qas, f"{name}.qas"), name]
    low.update_call(head.kernel, head.layer, "Conv", args, reads, name, var, macs=macs, returns_saturated=True)


def _lower_bias(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    b, acc, qas = call.args[:3]
    attrs, name, e = attributes(call), low.name(b), low.definition(acc).args[0]
    _, channels, height, width = shape(e)
    sizes = Value(channels), Value(height * width)
    rate = Rate(attrs["rate"], low.scaled_error(e))
    args = (Ref(low.name(e)), *sizes, Ref(low.name(qas, f"{name}.qas")), rate, Random(attrs["tensor"]), Ref(name))
    reads = [low.name(e), low.name(qas, f"{name}.qas"), name]
    low.update_call(f"mg_update_bias_{low.suffix(e)}", attrs["layer"], "Conv", args, reads, name, var)


update_weight = define("update_weight", _like_first, _compute_weight, lower=_lower_weight)
update_bias = define("update_bias", _like_first, _compute_bias, lower=_lower_bias)
