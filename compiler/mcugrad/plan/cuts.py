"""Where a long run of frozen layers is cut into chains so that its busiest part needs the fewest bytes.

Rows of few channels make small rings and large tensors, rows of many the opposite: a plain stack of convolutions (a
MobileNetV1) streams while it is wide and runs layer by layer once it is deep. A piece of the run is a chain or a single
layer. What lies between two chains lies in rows, so that the output of a chain grows over its input; next to a single
layer it does not. Dynamic programming over the pieces from the end of the run on: the largest need, then the fewest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mcugrad.plan.chains import ADD, DEPTHWISE, Chain, distance, only_used_by, ring_rows, row_bytes, scratch_bytes
from mcugrad.plan.inplace import reads_channels_whole
from mcugrad.program import Program

LONGEST = 8  # stages of a chain: the rings of more are larger than what they save
NEVER = 2**62  # bytes of what cannot be

Plan: TypeAlias = "tuple[int, int, tuple[int, ...]]"  # bytes of the busiest piece, pieces, where each ends


def cut(program: Program, runs: Sequence[Chain], *, pushed: bool = False) -> list[Chain]:
    """The chains of all runs, each run cut where it needs the fewest bytes; one that ends in an Add stays whole, since
    that reads what the run begins with. `pushed`: the first one has its input row by row, and begins with a chain."""
    users = {id(stage.call) for run in runs for stage in run.stages}
    found: list[Chain] = []
    for run in runs:
        if run.stages[-1].call.kernel == ADD or len(run.stages) == 2:
            found.append(run)
        else:
            ends = only_used_by(program, run.x, users), only_used_by(program, run.y, users)
            found += _Cutter(program, run, ends, pushed=pushed and run is runs[0]).chains()
    return found


@dataclass
class _Cutter:
    """Finds the pieces of one run. `ends`: whether its input and output can lie in rows."""

    program: Program
    run: Chain
    ends: tuple[bool, bool]
    pushed: bool
    _known: dict[tuple[int, bool, bool], Plan] = field(default_factory=dict)
    _own: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def chains(self) -> list[Chain]:
        first = min(self._plan(0, self.ends[0], chain) for chain in ((True,) if self.pushed else (False, True)))
        begin, found = 0, []
        for end in first[2]:
            if end - begin > 1:
                found.append(Chain(self.run.begin + begin, self.run.stages[begin:end]))
            begin = end
        return found

    def _plan(self, begin: int, rows: bool, chain: bool) -> Plan:
        """The best pieces from stage `begin` on, the first one a chain or not, its input in `rows` or not."""
        key = begin, rows, chain
        if key not in self._known:
            self._known[key] = min(self._plans(begin, rows, chain))
        return self._known[key]

    def _plans(self, begin: int, rows: bool, chain: bool) -> list[Plan]:
        count, found = len(self.run.stages), list[Plan]()
        ends = range(begin + 2, min(begin + LONGEST, count) + 1) if chain else [begin + 1]
        for end in ends:
            if end == count:
                found.append((self._bytes(begin, end, rows, chain and self.ends[1]), 1, (end,)))
                continue
            for after in (False, True):
                between = chain and after
                if after and count - end < 2:
                    continue
                most, pieces, more = self._plan(end, between, after)
                found.append((max(most, self._bytes(begin, end, rows, between)), pieces + 1, (end, *more)))
        return found or [(NEVER, 0, ())]

    def _bytes(self, begin: int, end: int, x_rows: bool, y_rows: bool) -> int:
        """What a piece needs while it runs; whether its ends lie in rows."""
        x, y = (self.program.buffers[n] for n in (self.run.stages[begin].x, self.run.stages[end - 1].y))
        if end - begin == 1:
            return self._layer_bytes(begin)
        inside, apart = self._chain_bytes(begin, end)
        if self.pushed and begin == 0:
            return inside + y.nbytes
        return inside + (max(apart + x.nbytes, y.nbytes) if x_rows and y_rows else x.nbytes + y.nbytes)

    def _layer_bytes(self, at: int) -> int:
        call = self.run.stages[at].call
        x, y = (self.program.buffers[n].nbytes for n in (self.run.stages[at].x, self.run.stages[at].y))
        scratch = sum(self.program.buffers[n].nbytes for n in call.writes) - y
        return scratch + (max(x, y) if call.kernel == DEPTHWISE and reads_channels_whole(call) else x + y)

    def _chain_bytes(self, begin: int, end: int) -> tuple[int, int]:
        """Rings and scratch of a chain, and how far its input must lie behind its output."""
        if (begin, end) not in self._own:
            chain = Chain(self.run.begin + begin, self.run.stages[begin:end])
            tensors = [self.program.buffers[s.x] for s in chain.stages]
            rings = [rows * row_bytes(t) for rows, t in zip(ring_rows(chain.stages), tensors, strict=True)]
            inside = sum(rings if self.pushed and begin == 0 else rings[1:])
            inside += max(scratch_bytes(self.program, s) for s in chain.stages) + 4 * len(chain.stages)
            apart = distance(chain, row_bytes(tensors[0]), row_bytes(self.program.buffers[chain.y]))
            self._own[begin, end] = inside, apart
        return self._own[begin, end]
