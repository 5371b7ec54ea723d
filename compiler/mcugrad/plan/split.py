"""Program -> Program in which SRAM holds only the part of a weight that trains.

Where the first input channels of a convolution train, the other ones stay in flash, in pairs (panels.py). Everybody who
reads such a weight must take it in two parts; where somebody cannot, it stays whole. So it does where scattered
channels train, or some output channels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcugrad.descriptors import geometry, subset_of
from mcugrad.plan.gradients import is_pointwise_dgrad
from mcugrad.plan.panels import CONVOLUTION, in_pairs, is_dense
from mcugrad.program import Argument, Buffer, KernelCall, Kind, Null, Program, Struct


def split_weights(program: Program) -> Program:
    """Leave the frozen channels of every weight in flash whose readers allow it."""
    buffers, calls = dict(program.buffers), list(program.calls)
    for update in program.calls:
        weight, n = update.writes[0] if update.work == "wgrad" else "", _first_channels(update)
        if n == 0 or not all(_takes_parts(c, weight) for c in program.calls if weight in c.reads and c is not update):
            continue
        buffers[weight], frozen = _parts(program.buffers[weight], n)
        buffers[frozen.name] = frozen
        calls = [_with_parts(c, weight, frozen.name, n) if weight in c.reads else c for c in calls]
    return replace(program, buffers=buffers, calls=tuple(calls))


def _first_channels(update: KernelCall) -> int:
    """How many input channels SRAM has to hold, even so that pairs begin behind them; 0: all."""
    subset = subset_of(update)
    if subset is None or not isinstance(subset["inputs"], Null):
        return 0
    n, g = subset["n_inputs"], geometry(update)
    assert isinstance(n, int)
    n += n % 2
    return n if g["groups"] == 1 and n < g["in_c"] else 0


def _takes_parts(call: KernelCall, weight: str) -> bool:
    reader = (call.kernel == CONVOLUTION and is_dense(call)) or is_pointwise_dgrad(call)
    return reader and call.reads[1] == weight


def _parts(weight: Buffer, n: int) -> tuple[Buffer, Buffer]:
    assert weight.value is not None, weight.name
    first, rest = np.ascontiguousarray(weight.value[:, :n]), in_pairs(weight.value[:, n:])
    name = f"{weight.name}.frozen"
    trained = replace(weight, shape=first.shape, value=first, frozen=name)
    return trained, replace(weight, name=name, shape=rest.shape, value=rest, kind=Kind.CONST, in_pairs=True)


def _with_parts(call: KernelCall, weight: str, frozen: str, n: int) -> KernelCall:
    if weight not in call.writes:
        return replace(call, reads=(*call.reads, frozen))
    return replace(call, args=tuple(_holding(a, n) for a in call.args))


def _holding(argument: Argument, n: int) -> Argument:
    if not isinstance(argument, Struct) or argument.type != "mg_subset_t":
        return argument
    return replace(argument, fields=tuple((name, n if name == "held" else v) for name, v in argument.fields))
