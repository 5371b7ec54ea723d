"""When and where: lowering to kernel calls, their order, the arena, the budget. `plan` runs them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcugrad.plan.gradients import use_panels_backward
from mcugrad.plan.inplace import merge_inplace, overlap_channels
from mcugrad.plan.join import apart_one_by_one, join_all, join_where_needed, joining_cost
from mcugrad.plan.keep import keep_trained_channels
from mcugrad.plan.masks import pack_masks
from mcugrad.plan.panels import use_panels, use_panels_of_unpacked
from mcugrad.plan.place import busiest, place
from mcugrad.plan.schedule import schedule
from mcugrad.plan.share import share_panels
from mcugrad.plan.split import split_weights
from mcugrad.plan.stream import frontier, stream_pushed, stream_where_needed
from mcugrad.plan.strips import use_strips
from mcugrad.program import Program

if TYPE_CHECKING:
    from mcugrad.graph import Model
    from mcugrad.passes.quantize_errors import TrainingStep


def plan(
    model: Model, step: TrainingStep | None, *, stream: bool = True, pushed: bool = False, arena: int = 0
) -> Program:
    """Lower, order and place. No `step`: a model that does not train. Without `stream` every layer has its call.

    `pushed`: the sample comes row by row and is never whole. `arena`: bytes it may have, for speed; 0: as few as can
    be. Raises McugradError where the sample cannot be pushed.
    """
    program = _lowered(model, step)
    if pushed:
        program = stream_pushed(program, _least_arena, arena)
    elif stream:
        program = stream_where_needed(program, _least_arena, arena)
    ordered = join_where_needed(schedule(program), _arena, arena)
    placed = place(_with_scratch(ordered, arena))
    if 0 < arena < placed.arena_bytes:  # gaps between buffers: less scratch
        placed = place(_with_scratch(ordered))
    placed = use_strips(placed)
    return placed if arena else share_panels(placed)


def sram_and_speed(model: Model, step: TrainingStep | None) -> list[tuple[int, int]]:
    """(bytes of the arena, estimated instructions of a pass above the fewest) that `plan` can choose from: more of the
    one, less of the other."""
    found, streamed = list[tuple[int, int]](), frontier(_lowered(model, step), _least_arena)
    for program, more in streamed[:-1]:
        joined = join_where_needed(schedule(program), _arena)
        found.append((_arena(joined), more + joining_cost(joined)))
    apart = apart_one_by_one(schedule(streamed[-1][0]), _arena)
    found += [(_arena(program), joining_cost(program)) for program in apart]
    cheapest = {size: min(more for s, more in found if s <= size) for size, _ in sorted(found)}
    return [(size, more) for size, more in cheapest.items() if all(m > more for s, m in cheapest.items() if s < size)]


def _lowered(model: Model, step: TrainingStep | None) -> Program:
    from mcugrad.plan.lower import lower_forward, lower_step

    program = lower_forward(model) if step is None else lower_step(model, step)
    return pack_masks(keep_trained_channels(use_panels(split_weights(program))))


def _least_arena(program: Program) -> int:
    return _arena(join_all(schedule(program)))


def _arena(ordered: Program) -> int:
    return busiest(_with_scratch(ordered)).size


def _with_scratch(ordered: Program, arena: int = 0) -> Program:
    shared = overlap_channels(merge_inplace(ordered))
    return use_panels_of_unpacked(use_panels_backward(shared, arena), arena)
