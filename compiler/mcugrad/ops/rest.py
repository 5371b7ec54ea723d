"""Updates that keep what rounding leaves over, in units of 1/256 quantum (NUMERICS.md, "Updates").

    total = rest + floor(u - acc * (256 / k * lr * S * qas[c]))        int32; S, qas and u as in update.py
    at every k-th step      move = floor((total + 128) / 256),  rest' = total - 256 * move
    between those           move = 0,                           rest' = clamp(total, +-limit)
    w' = clamp(w + move, -127, 127),  b' = saturate_int32(b + move)

Residual (k = 1): u = 1/2, rest is int8. Accumulation over k samples: u is uniform, rest ("pending") is int16 for a
weight, limit 32,767, and int32 for a bias, limit 1e9. The rest of a weight has a place for its trained channels only.
One kernel call does it all; it is emitted where the parameter moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tvm import relax, te, tirx

from mcugrad.ops.operator import Attrs, Type, attributes, define, f32, i32, shape
from mcugrad.ops.update import (
    applies,
    count,
    floor_step,
    like_first,
    lower_bias,
    lower_weight,
    member,
    moved_bias,
    moved_weight,
    random_key,
    step_rate,
    uniform,
)
from mcugrad.program import Apply, Argument, Random, Ref

if TYPE_CHECKING:
    from mcugrad.plan.lower import Lowering

UNIT = 256  # rests are counted in 1/UNIT of a quantum
LIMITS = {"int8": 127, "int16": 32767, "int32": 10**9}


def rest_dtype(accumulate: int, *, bias: bool) -> str:
    """The type that holds the rest of an int8 weight or of an int32 bias."""
    if accumulate == 1:
        return "int8"
    return "int32" if bias else "int16"


# ---- what is to be applied: rest + step ------------------------------------------------------------------------------


def _total(_: Attrs, types: Sequence[Type]) -> Type:
    return Type(shape(types[0]), "int32")


def _compute_total_weight(rest: te.Tensor, acc: te.Tensor, qas: te.Tensor, *more: te.Tensor, **a: Any) -> te.Tensor:
    s, lr, seed, step = more
    key, rate = random_key(seed, step, a["tensor"]), step_rate(lr, s, a["rate"])

    def at(o: tirx.Var, i: tirx.Var, ky: tirx.Var, kx: tirx.Var) -> tirx.PrimExpr:
        oc, ic = _number(a["outputs"], o), _number(a["inputs"], i)
        u = uniform(key, shape(acc), oc, ic, ky, kx) if a["stochastic"] else f32(0.5)
        move = floor_step(u, acc[oc, ic, ky, kx], rate[0] * qas[oc])
        return rest[o, i, ky, kx].astype("int32") + tirx.Select(qas[oc] != f32(0.0), move, i32(0))

    return te.compute(rest.shape, at, name="total")


def _compute_total_bias(rest: te.Tensor, acc: te.Tensor, qas: te.Tensor, *more: te.Tensor, **a: Any) -> te.Tensor:
    s, lr, seed, step = more
    key, rate = random_key(seed, step, a["tensor"]), step_rate(lr, s, a["rate"])

    def at(c: tirx.Var) -> tirx.PrimExpr:
        u = uniform(key, shape(acc), c) if a["stochastic"] else f32(0.5)
        move = floor_step(u, acc[c], rate[0] * qas[c])
        return rest[c].astype("int32") + tirx.Select(qas[c] != f32(0.0), move, i32(0))

    return te.compute(rest.shape, at, name="total")


def _number(edges: Sequence[int], place: tirx.Var) -> tirx.PrimExpr:
    """The channel at `place` among those that train, which are the runs [edges[0], edges[1]), ..."""
    number, before = place + edges[0], 0
    for (begin, end), (after, _) in pairwise(_runs(edges)):
        before += end - begin
        number = tirx.Select(place >= before, place - before + after, number)
    return number


def _place(edges: Sequence[int], number: tirx.Var) -> tirx.PrimExpr:
    """The inverse of `_number`; some valid place for a channel that does not train."""
    place, before = te.max(number - edges[0], 0), 0
    for (begin, end), (after, _) in pairwise(_runs(edges)):
        before += end - begin
        place = tirx.Select(number >= after, number - after + before, te.min(place, before - 1))
    return te.min(place, count(edges) - 1)


def _runs(edges: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(edges[::2], edges[1::2], strict=True))


total_weight = define("total_weight", _total, _compute_total_weight)
total_bias = define("total_bias", _total, _compute_total_bias)


# ---- where it goes ---------------------------------------------------------------------------------------------------


def _move(total: tirx.PrimExpr, step: te.Tensor, accumulate: int) -> tirx.PrimExpr:
    nearest = tirx.floordiv(total + i32(UNIT // 2), i32(UNIT))
    return tirx.Select(applies(step, accumulate), nearest, i32(0))


def _compute_rest(total: te.Tensor, step: te.Tensor, *, accumulate: int, kind: str) -> te.Tensor:
    limit = i32(LIMITS[kind])

    def at(*i: tirx.Var) -> tirx.PrimExpr:
        held = te.max(te.min(total(*i), limit), -limit)
        left = total(*i) - i32(UNIT) * _move(total(*i), step, accumulate)
        return tirx.Select(applies(step, accumulate), left, held).astype(kind)

    return te.compute(total.shape, at, name="rest")


def _compute_weight(w: te.Tensor, total: te.Tensor, qas: te.Tensor, step: te.Tensor, **a: Any) -> te.Tensor:
    def at(oc: tirx.Var, ic: tirx.Var, ky: tirx.Var, kx: tirx.Var) -> tirx.PrimExpr:
        move = _move(total[_place(a["outputs"], oc), _place(a["inputs"], ic), ky, kx], step, a["accumulate"])
        trained = tirx.all(qas[oc] != f32(0.0), member(oc, a["outputs"]), member(ic, a["inputs"]))
        return tirx.Select(trained, moved_weight(w[oc, ic, ky, kx], move), w[oc, ic, ky, kx])

    return te.compute(w.shape, at, name="w")


def _compute_bias(b: te.Tensor, total: te.Tensor, step: te.Tensor, *, accumulate: int) -> te.Tensor:
    return te.compute(b.shape, lambda c: moved_bias(b[c], _move(total[c], step, accumulate)), name="b")


def _rounding(low: Lowering, total: relax.Call) -> dict[str, Any]:
    attrs, rest = attributes(total), low.name(total.args[0])
    if not attrs["stochastic"]:
        return {"rounding": [Ref(rest)], "variant": "residual_", "rest": rest}
    rounding: list[Argument] = [Random(attrs["tensor"]), Apply(), Ref(rest)]
    return {"rounding": rounding, "variant": "accumulate_", "rest": rest}


def _lower_weight(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    total = low.definition(call.args[1])
    _, acc, qas = total.args[:3]
    lower_weight(low, var, call.args[0], (acc, qas), attributes(total), **_rounding(low, total))


def _lower_bias(low: Lowering, var: relax.Var, call: relax.Call) -> None:
    total = low.definition(call.args[1])
    _, acc, qas = total.args[:3]
    lower_bias(low, var, call.args[0], (acc, qas), attributes(total), **_rounding(low, total))


apply_weight = define("apply_weight", like_first, _compute_weight, lower=_lower_weight)
apply_bias = define("apply_bias", like_first, _compute_bias, lower=_lower_bias)
keep_rest = define("keep_rest", lambda a, types: Type(shape(types[0]), a["kind"]), _compute_rest)
