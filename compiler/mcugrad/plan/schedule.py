"""Program -> Program in which the backward calls come in the order that keeps the fewest bytes alive.

Dependencies: a call runs after those that wrote what it reads, and an in-place update of a parameter after everybody
who reads the old value. Within them a greedy list scheduler takes the call that frees most, of several the one that
writes least: while it runs, what it frees is still there. Ties keep the given order, so the result is deterministic.
Forward calls keep the order of the ONNX graph.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from mcugrad.program import KernelCall, Kind, Program


def schedule(program: Program) -> Program:
    """Reorder the backward calls of `program`."""
    forward = list(program.phase("forward"))
    backward = list(program.phase("backward"))
    return replace(program, calls=(*forward, *_order(program, backward)))


def _order(program: Program, calls: list[KernelCall]) -> list[KernelCall]:
    before = _dependencies(program, calls)
    readers: dict[str, set[int]] = defaultdict(set)
    for index, call in enumerate(calls):
        for name in _arena(program, call.reads):
            readers[name].add(index)
    order: list[int] = []
    waiting = set(range(len(calls)))
    while waiting:
        ready = [i for i in sorted(waiting) if not before[i] & waiting]
        best = min(ready, key=lambda i: (*_growth(program, calls[i], i, readers, waiting), i))
        order.append(best)
        waiting.remove(best)
    return [calls[i] for i in order]


def _arena(program: Program, names: tuple[str, ...]) -> set[str]:
    return {r for n in names if program.buffers[r := program.root(n)].in_arena}


def _growth(
    program: Program, call: KernelCall, index: int, readers: dict[str, set[int]], waiting: set[int]
) -> tuple[int, int]:
    """Bytes the call adds to the live set minus those whose last reader it is; and bytes it adds."""
    added = sum(program.buffers[n].nbytes for n in _arena(program, call.writes))
    freed = [n for n in _arena(program, call.reads) if readers[n] & waiting == {index}]
    return added - sum(program.buffers[n].nbytes for n in freed), added


def _dependencies(program: Program, calls: list[KernelCall]) -> list[set[int]]:
    """For each call, the calls that must come before it."""
    before: list[set[int]] = [set() for _ in calls]
    updates = {w: i for i, c in enumerate(calls) for w in c.writes if program.buffers[w].kind is Kind.STATE}
    written: dict[str, list[int]] = defaultdict(list)
    for index, call in enumerate(calls):
        for name in (program.root(n) for n in call.reads):
            before[index].update(i for i in written[name] if i != index)
        written_now = [program.root(n) for n in call.writes] + ([call.result] if call.result else [])
        for name in written_now:
            written[name].append(index)
        if call.store is not None and program.unit is not None:
            before[index].update(i for i in written[program.unit] if i != index)
    for name, update in updates.items():
        readers = {i for i, c in enumerate(calls) if name in c.reads and i != update}
        before[update] |= {i for i in readers if calls[i].writes != (name,)}
    return before
