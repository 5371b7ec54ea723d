"""The frozen prefix: the forward calls that compute the same for a sample in every epoch, and what remains of them.

Everything before the first call that reads a trained parameter can run once a sample. What the rest of the step needs
of it is its record: the bytes of the arena that were written before the cut (or are the sample) and are read behind
it, forward or backward. Bytes, not tensors: what shares an address with what is of no concern here.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcugrad.program import KernelCall, Kind, Program, Ref

MOST = 0.95  # of the MACs that the latest cut skips


@dataclass(frozen=True)
class Prefix:
    """The first `calls` calls, which execute `macs` MACs; `pieces`: (offset in the arena, bytes) of the record, in
    ascending order and disjoint."""

    calls: int
    macs: int
    pieces: tuple[tuple[int, int], ...]

    @property
    def nbytes(self) -> int:
        return sum(size for _, size in self.pieces)


def frozen_prefix(program: Program) -> Prefix | None:
    """The cut of a placed program; None where nothing trains, or nothing that multiplies comes before what trains.

    Of the cuts that skip at least MOST of the MACs that can be skipped, the one with the smallest record; of equals the
    latest.
    """
    if program.loss is None:
        return None
    cuts = _cuts(program)
    skippable = max((cut.macs for cut in cuts), default=0)
    if skippable == 0:
        return None
    candidates = [cut for cut in cuts if cut.macs >= MOST * skippable]
    return min(candidates, key=lambda cut: (cut.nbytes, -cut.calls))


def _cuts(program: Program) -> list[Prefix]:
    """A cut behind every frozen call."""
    last_read = {program.root(name): i for i, call in enumerate(program.calls) for name in call.reads}
    written, macs, cuts = {program.root(program.input)}, 0, []
    for index, call in enumerate(program.phase("forward")):
        if _uses_state(program, call):
            break
        written |= {program.root(name) for name in call.writes}
        macs += call.macs
        alive = [name for name in written if last_read.get(name, -1) > index and program.buffers[name].in_arena]
        cuts.append(Prefix(index + 1, macs, _pieces(program, alive)))
    return cuts


def _uses_state(program: Program, call: KernelCall) -> bool:
    inside = (value for struct in call.descriptors for value in struct.values())
    named = (a.buffer for a in (*call.args, *inside) if isinstance(a, Ref))
    return any(program.buffers[program.root(n)].kind is Kind.STATE for n in (*call.reads, *call.writes, *named))


def _pieces(program: Program, names: list[str]) -> tuple[tuple[int, int], ...]:
    """The union of the buffers' bytes."""
    spans: list[tuple[int, int]] = []
    for start, size in sorted((program.offsets[name], program.buffers[name].nbytes) for name in names):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], start + size))
        else:
            spans.append((start, start + size))
    return tuple((start, end - start) for start, end in spans)
