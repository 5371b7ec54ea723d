"""When and where: lowering to kernel calls, their order, the arena, the budget. `plan` runs them all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mcugrad.plan.arena import Buffer as Interval
from mcugrad.plan.arena import pack
from mcugrad.plan.fuse import fuse_depthwise
from mcugrad.plan.inplace import merge_inplace
from mcugrad.plan.masks import pack_masks
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
    return place(merge_inplace(schedule(pack_masks(fused))))


def place(program: Program) -> Program:
    """Give every arena buffer an offset."""
    spans = program.lifetimes()
    intervals = [Interval(n, program.buffers[n].nbytes, first, last) for n, (first, last) in sorted(spans.items())]
    placement = pack(intervals)
    return replace(
        program,
        offsets=placement.offsets,
        arena_bytes=placement.arena_bytes,
        arena_lower_bound=placement.lower_bound,
    )
