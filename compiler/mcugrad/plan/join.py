"""Program -> Program in which the error by a pointwise convolution's input takes the place of that input.

The gradient by the weights reads the input, and the gradient by the input the old weights: one by one they need both
tensors whole. Joined in one call (mg_conv2d_pointwise_backward_s8) they go through the input channels in groups: the
error of a group is made beside, the weights of the group move, and the error overwrites the channels that nobody reads
again. That costs instructions, since the error of the output is expanded once a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from mcugrad.descriptors import geometry, subset_of
from mcugrad.plan.fewest import fewest
from mcugrad.plan.gradients import JOINED, UPDATE, is_pointwise_dgrad, is_pointwise_gradient
from mcugrad.program import Argument, KernelCall, Kind, Null, Program, Ref

AGAIN = 6  # instructions an element of the output's error and group of four channels: fits ds-cnn's last layer

Pair = tuple[int, int]  # indices of a gradient by the input and of the update of the weights that it reads


def join_where_needed(program: Program, arena: Callable[[Program], int], limit: int = 0) -> Program:
    """Join the fewest pairs, the largest tried first, with which `arena` is at most `limit`, or where that cannot be as
    small as with all of them. Wants the calls in their final order."""
    return _join(program, _fewest(program, arena, limit))


def apart_one_by_one(program: Program, arena: Callable[[Program], int]) -> list[Program]:
    """The program with the fewest pairs joined that the smallest `arena` needs, then with one fewer each, that which it
    can best do without, down to none."""
    kept, found = _fewest(program, arena, 0), list[Program]()
    while kept:
        found.append(_join(program, kept))
        without = [[p for p in kept if p != pair] for pair in kept]
        kept = min(without, key=lambda fewer: arena(_join(program, fewer)))
    return [*found, program]


def joining_cost(program: Program) -> int:
    """Instructions that its joined calls take more than two calls would, estimated."""
    dims = [geometry(c) for c in program.calls if c.kernel == JOINED]
    return sum(AGAIN * g["out_c"] * g["in_h"] * g["in_w"] * -(-g["in_c"] // 4) for g in dims)


def _fewest(program: Program, arena: Callable[[Program], int], limit: int) -> list[Pair]:
    pairs = _pairs(program)
    goal = max(limit, arena(_join(program, pairs)))
    largest_first = sorted(pairs, key=lambda p: program.calls[p[0]].macs, reverse=True)
    return fewest(pairs, largest_first, lambda kept: arena(_join(program, kept)) <= goal)


def join_all(program: Program) -> Program:
    """Join every pair."""
    return _join(program, _pairs(program))


def _pairs(program: Program) -> list[Pair]:
    updates = {c.writes[0]: i for i, c in enumerate(program.calls) if c.kernel == UPDATE and is_pointwise_gradient(c)}
    found = [(i, updates.get(c.reads[1], -1)) for i, c in enumerate(program.calls) if is_pointwise_dgrad(c)]
    return [(dgrad, update) for dgrad, update in found if update > dgrad and _may_join(program, dgrad, update)]


def _may_join(program: Program, dgrad: int, update: int) -> bool:
    """Whether all input channels train, by int8 errors, the input dies with that, and nobody needs the error before."""
    store, x = program.calls[dgrad].store, program.root(program.calls[update].reads[1])
    assert store is not None
    if store.out not in program.ratios or not _all_inputs_train(program.calls[update]):
        return False
    int8 = all(program.buffers[n].dtype == "int8" for n in (store.out, store.skip, store.mask) if n is not None)
    between = program.calls[dgrad + 1 : update]
    used = any(program.root(n) in (store.out, x) for c in between for n in (*c.reads, *c.writes))
    dies = program.buffers[x].kind is Kind.ACTIVATION and program.lifetimes()[x][1] == update
    return int8 and dies and not used


def _all_inputs_train(update: KernelCall) -> bool:
    """An even number of them: the gradient by the input makes two at a time."""
    subset, channels = subset_of(update), geometry(update)["in_c"]
    assert subset is not None
    return isinstance(subset["inputs"], Null) and subset["n_inputs"] == channels and channels % 2 == 0


def _join(program: Program, pairs: Iterable[Pair]) -> Program:
    """The joined call stands where the update stood."""
    calls: list[KernelCall | None] = list(program.calls)
    for dgrad, update in pairs:
        calls[dgrad], calls[update] = None, _joined(program, program.calls[dgrad], program.calls[update])
    return replace(program, calls=tuple(c for c in calls if c is not None))


def _joined(program: Program, dgrad: KernelCall, update: KernelCall) -> KernelCall:
    store = dgrad.store
    assert store is not None
    assert program.unit is not None
    ratio = f"{store.out}.ratio"
    args: tuple[Argument, ...] = (*update.args, Ref(ratio), Ref(program.unit), store)
    reads = (*dgrad.reads, *(n for n in update.reads if n not in dgrad.reads), ratio, program.unit)
    return replace(
        update,
        kernel=JOINED,
        args=args,
        reads=reads,
        writes=(store.out, *update.writes, ratio),
        dgrad_macs=dgrad.macs,
        inplace=((store.out, update.reads[1]),),
    )
