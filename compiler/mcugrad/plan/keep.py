"""Program -> Program that keeps of an activation only the channels that a weight gradient will read.

Where the first input channels of a layer train, its gradient reads those of its input and no others. They are copied
when the forward is done with the whole, which then dies. What else the backward asks of it must be its straight-through
mask (masks.py, which comes after and packs that).
"""

from __future__ import annotations

import math
from dataclasses import replace

from mcugrad.descriptors import geometry, subset_of
from mcugrad.plan.masks import masks_with
from mcugrad.program import Argument, Buffer, KernelCall, Kind, Null, Program, Ref, Value


def keep_trained_channels(program: Program) -> Program:
    """Replace every saved activation of which the backward needs only first channels by these."""
    buffers, calls = dict(program.buffers), list(program.calls)
    for name in [n for n, b in program.buffers.items() if b.kind is Kind.ACTIVATION and program.root(n) == n]:
        whole = buffers[name]
        kept = replace(whole, name=f"{name}.kept", shape=_needed(program, name))
        if kept.elements == 0 or kept.nbytes + _mask_bytes(program, name) >= whole.nbytes:
            continue
        buffers[kept.name] = kept
        last = max(i for i, c in enumerate(calls) if c.phase == "forward" and _reads(program, c, name))
        calls.insert(last + 1, _copy(whole, kept))
        calls = [_use(program, c, name, kept.name) if c.work == "wgrad" else c for c in calls]
    return replace(program, buffers=buffers, calls=tuple(calls))


def _needed(program: Program, name: str) -> tuple[int, ...]:
    """(1, channels, height, width) of what the weight gradients read, in the shape in which the layer that reads most
    has it; no channels where somebody reads others than the first, not just a mask."""
    nothing = 1, 0, 0, 0
    needed = [nothing]
    for call in program.phase("backward"):
        reads = sum(program.root(n) == name for n in call.reads)
        if reads == 0 or (reads == 1 and masks_with(program, call, name)):
            continue
        first = _first_channels(call)
        if reads > 1 or call.work != "wgrad" or first == 0:
            return nothing
        g = geometry(call)
        needed.append((1, first, g["in_h"], g["in_w"]))
    return max(needed, key=math.prod)


def _first_channels(update: KernelCall) -> int:
    """How many channels of its input an update reads, if the first ones; else 0."""
    subset = subset_of(update)
    if subset is None:
        return 0
    groups, side = geometry(update)["groups"], "inputs"
    if groups > 1:  # a depthwise weight has one input; which of them train is said as outputs
        side = "outputs" if groups == geometry(update)["in_c"] == geometry(update)["out_c"] else ""
    count = subset[f"n_{side}"] if side and isinstance(subset[side], Null) else 0
    assert isinstance(count, int)
    return count


def _reads(program: Program, call: KernelCall, name: str) -> bool:
    return any(program.root(n) == name for n in call.reads)


def _mask_bytes(program: Program, name: str) -> int:
    masked = any(masks_with(program, c, name) for c in program.phase("backward"))
    return (program.buffers[name].elements + 7) // 8 if masked else 0


def _copy(whole: Buffer, kept: Buffer) -> KernelCall:
    args = Ref(whole.name), Value(kept.elements), Ref(kept.name)
    return KernelCall("mg_copy_s8", whole.layer, "Keep", args, (whole.name,), (kept.name,))


def _use(program: Program, call: KernelCall, name: str, kept: str) -> KernelCall:
    def of(argument: Argument) -> Argument:
        return Ref(kept) if isinstance(argument, Ref) and program.root(argument.buffer) == name else argument

    reads = tuple(kept if program.root(n) == name else n for n in call.reads)
    return replace(call, args=tuple(of(a) for a in call.args), reads=reads)
