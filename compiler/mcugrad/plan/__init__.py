"""When and where: lowering to kernel calls, their order, the arena, the budget. `plan` runs them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mcugrad.plan.arena import Buffer as Interval
from mcugrad.plan.arena import Overlap, pack
from mcugrad.plan.fuse import fuse_depthwise
from mcugrad.plan.gradients import use_panels_backward
from mcugrad.plan.inplace import merge_inplace
from mcugrad.plan.masks import pack_masks
from mcugrad.plan.panels import use_panels, use_panels_of_unpacked
from mcugrad.plan.schedule import schedule
from mcugrad.program import Program

if TYPE_CHECKING:
    from mcugrad.graph import Model
    from mcugrad.passes.quantize_errors import TrainingStep


def plan(model: Model, step: TrainingStep | None, *, fuse: bool = True) -> Program:
    """Lower, order and place. No `step`: a model that does not train. Without `fuse` every layer has its call."""
    from mcugrad.plan.lower import lower_forward, lower_step

    program = lower_forward(model) if step is None else lower_step(model, step)
    fused = fuse_depthwise(program) if fuse else program
    ordered = merge_inplace(schedule(pack_masks(use_panels(fused))))
    return place(use_panels_of_unpacked(use_panels_backward(ordered)))


def place(program: Program) -> Program:
    """Give every arena buffer an offset."""
    spans = program.lifetimes()
    intervals = [Interval(n, program.buffers[n].nbytes, first, last) for n, (first, last) in sorted(spans.items())]
    placement = pack(intervals, _overlaps(program, spans))
    return replace(
        program,
        offsets=placement.offsets,
        arena_bytes=placement.arena_bytes,
        arena_lower_bound=placement.lower_bound,
    )


def _overlaps(program: Program, spans: Mapping[str, tuple[int, int]]) -> list[Overlap]:
    """Those whose upper buffer still dies in the very call that begins the lower one."""
    found = [Overlap(program.root(low), program.root(up), least) for low, up, least in program.overlaps]
    return [o for o in found if spans[o.upper][1] == spans[o.lower][0]]
