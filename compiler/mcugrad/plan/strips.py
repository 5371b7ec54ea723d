"""Program -> Program in which dense convolutions multiply several panels at a time wherever there is room for them.

A strip is panels beside each other (mg_conv2d_strips_s8): the weights of two output channels are widened to int16 once
for all of them, which takes 11 instead of 13 instructions for 16 MACs. The panels are scratch that lives for one call,
in a gap of an arena that is placed already. Alone and as stages of row chains.
"""

from __future__ import annotations

from dataclasses import replace

from mcugrad.plan.place import ALIGNMENT
from mcugrad.plan.room import panels_at_once
from mcugrad.program import Argument, Field, Function, KernelCall, Place, Program, Ref, Struct, Table, Value

CONV, STRIPS = "mg_conv2d_rows_s8", "mg_conv2d_strips_s8"
CONV_STAGE, STRIPS_STAGE = "mg_row_stage_conv2d_s8", "mg_row_stage_strips_s8"
CHAINS = ("mg_row_chain_s8", "mg_row_chain_advance_s8")
PAIR, WORD = 26, 3  # instructions: of a pair of channels once more than of a panel, to widen four weights


def use_strips(program: Program) -> Program:
    """Give such convolutions of a placed program their scratch, and the kernel that expects it."""
    buffers, offsets, calls = dict(program.buffers), dict(program.offsets), []
    for index, call in enumerate(program.calls):
        scratch = _scratch(call)
        if scratch is None:
            calls.append(call)
            continue
        offset, room = _widest_gap(program, index, scratch)
        held = buffers[scratch]
        strips, nbytes = _with_strips(call, room)
        if nbytes > held.nbytes:
            itemsize = held.nbytes // held.elements
            buffers[scratch], offsets[scratch] = replace(held, shape=(nbytes // itemsize,)), offset
        calls.append(strips)
    return replace(program, buffers=buffers, offsets=offsets, calls=tuple(calls))


def _widest_gap(program: Program, index: int, scratch: str) -> tuple[int, int]:
    """Offset and bytes of the widest gap in the arena during call `index`, whose `scratch` may move into it."""
    spans = program.lifetimes()
    living = [n for n, (first, last) in spans.items() if first <= index <= last and n != scratch]
    taken = sorted((program.offsets[n], program.offsets[n] + program.buffers[n].nbytes) for n in living)
    begin, best = 0, (0, 0)
    for low, high in (*taken, (program.arena_bytes, program.arena_bytes)):
        best = max(best, (low - begin, -begin))
        begin = max(begin, -(-high // ALIGNMENT) * ALIGNMENT)
    return -best[1], best[0]


def _scratch(call: KernelCall) -> str | None:
    """The buffer that `call` works in, if it is a dense convolution by rows or a chain."""
    if call.kernel == CONV:
        return next(a.buffer for a in reversed(call.args[:-1]) if isinstance(a, Ref))
    if call.kernel in CHAINS:
        return _place(_stages(call).rows[0], "scratch")
    return None


def _with_strips(call: KernelCall, room: int) -> tuple[KernelCall, int]:
    """`call` with what strips fit into `room` bytes, and the bytes that it then needs; 0 where none does."""
    if call.kernel == CONV:
        rows = call.args[0]
        assert isinstance(rows, Struct)
        panels, nbytes = _strip(rows, room, whole=True)
        if panels == 0:
            return call, 0
        args: tuple[Argument, ...] = (*call.args[:-2], Value(panels), *call.args[-2:])
        return replace(call, kernel=STRIPS, args=args), nbytes
    found = [_stage_with_strips(stage, room) for stage in _stages(call).rows]
    table = Table(tuple(stage for stage, _ in found))
    args = tuple(table if isinstance(a, Table) else a for a in call.args)
    return replace(call, args=args), max(nbytes for _, nbytes in found)


def _stage_with_strips(stage: Struct, room: int) -> tuple[Struct, int]:
    fields = dict(stage.fields)
    rows = fields["rows"]
    assert isinstance(rows, Struct)
    panels, nbytes = _strip(rows, room, whole=False) if fields["run"] == Function(CONV_STAGE) else (0, 0)
    if panels == 0:
        return stage, 0
    strips: dict[str, Field] = {"run": Function(STRIPS_STAGE), "panels": panels}
    return replace(stage, fields=tuple({**fields, **strips}.items())), nbytes


def _strip(rows: Struct, room: int, *, whole: bool) -> tuple[int, int]:
    """How many panels at once, of a `whole` layer or of one row, and the bytes for them and two channels of weights;
    none where widening the weights costs more than it saves."""
    g = _integers(dict(rows.fields)["conv"])
    positions = g["out_w"] * (g["out_h"] if whole else 1)
    taps = g["in_c"] * g["k_h"] * g["k_w"]
    taps += taps % 2
    most = (room - 4 * taps) // (8 * taps)
    panels = panels_at_once(-(-positions // 4), most)
    saved = taps // 2 * (2 * panels - WORD) + 4 * panels - PAIR
    if g["out_c"] % 2 or g["out_w"] < 4 or most < panels or saved <= 0:
        return 0, 0
    return panels, (8 * panels + 4) * taps


def _integers(conv: Field) -> dict[str, int]:
    assert isinstance(conv, Struct)
    return {name: value for name, value in conv.fields if isinstance(value, int)}


def _stages(call: KernelCall) -> Table:
    return next(a for a in call.args if isinstance(a, Table))


def _place(stage: Struct, field: str) -> str:
    place = dict(stage.fields)[field]
    assert isinstance(place, Place)
    return place.buffer
