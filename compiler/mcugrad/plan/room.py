"""How many bytes a call's scratch can take before the arena grows, and how many panels at once that makes."""

from __future__ import annotations

from mcugrad.plan.place import bytes_alive
from mcugrad.program import Program

MOST_PANELS = 16


def room_of_calls(program: Program, arena: int = 0) -> list[int]:
    """At each call, the bytes by which fewer are alive than at the busiest one, or than `arena` if that is more; calls
    are in their final order."""
    alive = bytes_alive(program)
    return [max(arena, *alive) - live for live in alive]


def panels_at_once(wanted: int, most: int) -> int:
    """`wanted` panels in as few strips of equal length as have `most` panels or fewer, each."""
    return -(-wanted // -(-wanted // max(1, min(MOST_PANELS, most))))
