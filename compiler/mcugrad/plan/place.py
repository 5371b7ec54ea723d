"""Program -> Program whose arena buffers have offsets; and how many bytes are alive when."""

from __future__ import annotations

from dataclasses import replace

from mcugrad.plan.arena import Buffer, Overlap, Peak, alive, pack, peak
from mcugrad.program import Program

ALIGNMENT = 8


def place(program: Program) -> Program:
    """Give every arena buffer an offset."""
    placement = pack(*_intervals(program), ALIGNMENT)
    return replace(
        program,
        offsets=placement.offsets,
        arena_bytes=placement.arena_bytes,
        arena_lower_bound=placement.lower_bound,
    )


def busiest(program: Program) -> Peak:
    """The call at which most bytes are alive: the arena cannot be smaller, and hardly ever is larger."""
    return peak(*_intervals(program), ALIGNMENT)


def bytes_alive(program: Program) -> list[int]:
    """Of the arena, at each call."""
    levels = dict(alive(*_intervals(program), ALIGNMENT))
    found, size = [], 0
    for index in range(len(program.calls)):
        size = levels.get(index, size)
        found.append(size)
    return found


def _intervals(program: Program) -> tuple[list[Buffer], list[Overlap]]:
    """Lifetimes, and the overlaps whose upper buffer still dies in the very call that begins the lower one."""
    spans = program.lifetimes()
    buffers = [Buffer(n, program.buffers[n].nbytes, first, last) for n, (first, last) in sorted(spans.items())]
    found = [Overlap(program.root(low), program.root(up), least) for low, up, least in program.overlaps]
    return buffers, [o for o in found if spans[o.upper][1] == spans[o.lower][0]]
