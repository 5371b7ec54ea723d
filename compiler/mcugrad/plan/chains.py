"""Which forward calls can run row by row as one chain, what rings they need, and how far apart their ends must lie.

A chain is a run of calls, dense and depthwise convolutions and at its end perhaps the Add of a residual block, whose
intermediate tensors nobody else reads, the backward least of all. Its stages take turns: each makes its next rows as
soon as those under their windows are there (mg_row_chain_s8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mcugrad.descriptors import depthwise_scratch, geometry
from mcugrad.program import Buffer, KernelCall, Kind, Program

CONV, DEPTHWISE, ADD = "mg_conv2d_rows_s8", "mg_depthwise_conv2d_rows_s8", "mg_add_s8"


@dataclass(frozen=True)
class Window:
    """What one row of a stage reads: rows row * stride - pad + dilation * [0, taps) of an input of `height` rows."""

    taps: int
    stride: int
    dilation: int
    pad: int
    height: int
    out_height: int

    @property
    def span(self) -> int:
        return self.dilation * (self.taps - 1) + 1

    def rows(self, row: int) -> Iterator[int]:
        """The input rows that `row` reads."""
        top = row * self.stride - self.pad
        return (r for r in range(top, top + self.span, self.dilation) if 0 <= r < self.height)

    def first(self, row: int) -> int:
        """The first input row that `row` and those after it read; `height` behind the last."""
        return self.height if row >= self.out_height else max(0, row * self.stride - self.pad)

    def needed(self, row: int) -> int:
        """How many rows of the input must be there to make `row`."""
        return min(row * self.stride - self.pad + self.span, self.height)


@dataclass(frozen=True)
class Stage:
    """A call of the chain with its operands: `other` is the second one of an Add. It makes `turn` rows at a time."""

    call: KernelCall
    window: Window
    x: str
    y: str
    other: str | None = None
    turn: int = 1

    def count(self, made: int) -> int:
        """How many rows it makes behind the first `made`."""
        return min(self.turn, self.window.out_height - made)

    def needed(self, made: int) -> int:
        """How many rows of its input must be there before it makes these."""
        return self.window.needed(made + self.count(made) - 1)


@dataclass(frozen=True)
class Chain:
    """Calls [begin, begin + len(stages)) of a program."""

    begin: int
    stages: tuple[Stage, ...]

    @property
    def x(self) -> str:
        return self.stages[0].x

    @property
    def y(self) -> str:
        return self.stages[-1].y

    def with_turns(self, rows: int) -> Chain:
        """The same with `rows` rows in a turn of its depthwise stages, which widen a row once for all its windows."""
        return replace(self, stages=tuple(_with_turn(s, rows) for s in self.stages))


def _with_turn(stage: Stage, rows: int) -> Stage:
    return replace(stage, turn=min(rows, stage.window.out_height)) if stage.call.kernel == DEPTHWISE else stage


def turns(stages: Sequence[Stage]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(stage, rows that each stage had made before) of every turn, in the order of mg_row_chain_s8."""
    made = [0] * len(stages)
    last = len(stages) - 1
    while made[last] < stages[last].window.out_height:
        stage = last
        while stage > 0 and stages[stage].needed(made[stage]) > made[stage - 1]:
            stage -= 1
        yield stage, tuple(made)
        made[stage] += stages[stage].count(made[stage])


def ring_rows(stages: Sequence[Stage]) -> list[int]:
    """Rows of its input that each stage's ring must hold. That of the first one fills row by row (a pushed sample)."""
    rings = [1] * len(stages)
    for stage, made in turns(stages):
        window = stages[stage].window
        if stage == 0:
            rings[0] = max(rings[0], stages[0].needed(made[0]) - window.first(made[0]))
        if stage + 1 < len(stages):
            after = made[stage] + stages[stage].count(made[stage])
            rings[stage + 1] = max(rings[stage + 1], after - stages[stage + 1].window.first(made[stage + 1]))
    return rings


def distance(chain: Chain, x_row: int, y_row: int) -> int:
    """Bytes by which the input, in rows of `x_row` bytes, must lie behind the output, in rows of `y_row`, so that no
    row of the output meets one that is still to be read. An Add reads the input's row as it writes its own."""
    last, adds = len(chain.stages) - 1, chain.stages[-1].other is not None
    found = 0
    for stage, made in turns(chain.stages):
        if stage != last:
            continue
        row, needed = made[last], chain.stages[0].window.first(made[0])
        if adds:
            found = max(found, row * (y_row - x_row))
            needed = min(needed, row + 1)
        found = max(found, (row + chain.stages[last].count(row)) * y_row - needed * x_row)
    return found


def only_used_by(program: Program, name: str, calls: set[int]) -> bool:
    """Whether these calls, by their id, are all that read or write tensor `name`: then it may lie in rows."""
    users = [c for c in program.calls if name in {program.root(n) for n in (*c.reads, *c.writes)}]
    return name != program.root(program.output) and all(id(c) in calls for c in users)


def row_bytes(tensor: Buffer) -> int:
    """Bytes of a row of all channels."""
    return tensor.shape[1] * tensor.shape[3]


def scratch_bytes(program: Program, stage: Stage) -> int:
    """What a stage works in."""
    if stage.call.kernel == DEPTHWISE:
        return 2 * depthwise_turn_scratch(geometry(stage.call), stage.turn)
    return sum(program.buffers[n].nbytes for n in stage.call.writes if n != stage.y)


def depthwise_turn_scratch(g: dict[str, Any], rows: int) -> int:
    """int16 elements that `rows` rows of a depthwise convolution need; fewer than a whole layer."""
    kernel, out = (g["out_c"], 1, g["k_h"], g["k_w"]), (1, g["out_c"], g["out_h"], g["out_w"])
    steps = {"stride": (g["stride_h"], g["stride_w"]), "dilation": (g["dilation_h"], g["dilation_w"])}
    return depthwise_scratch(kernel, out, steps, rows)


def find_chains(program: Program) -> list[Chain]:
    """Every longest run that could be a chain, cut where a narrow tensor stands between two dense convolutions."""
    readers = Counter(program.root(n) for call in program.calls for n in set(call.reads))
    forward = [c for c in program.calls if c.phase == "forward"]
    chains, at = [], 0
    while at < len(forward):
        stages = _run(program, forward, at, readers)
        if len(stages) > 1:
            chains.append(Chain(at, tuple(stages)))
        at += max(len(stages), 1)
    return chains


def _run(program: Program, calls: Sequence[KernelCall], at: int, readers: Counter[str]) -> list[Stage]:
    stages: list[Stage] = []
    for call in calls[at:]:
        stage = _stage(program, call, stages)
        if stage is None or (stages and not _continues(program, stages, stage, readers)):
            break
        stages.append(stage)
        if call.kernel == ADD:
            break
    return stages


def _continues(program: Program, stages: list[Stage], stage: Stage, readers: Counter[str]) -> bool:
    """Whether `stage` reads what the last one of `stages` wrote, and nobody else does."""
    between = stages[-1].y
    private = stage.x == between and readers[between] == 1 and program.root(program.output) != between
    narrow = stages[-1].call.kernel == stage.call.kernel == CONV and _shrinks(program, stages[-1])
    return private and not narrow


def _shrinks(program: Program, stage: Stage) -> bool:
    return program.buffers[stage.y].nbytes < program.buffers[stage.x].nbytes


def _stage(program: Program, call: KernelCall, before: Sequence[Stage]) -> Stage | None:
    """`call` as a stage behind `before`; None if it cannot be one."""
    if call.kernel in (CONV, DEPTHWISE):
        return _convolution(program, call)
    if call.kernel == ADD and before:
        return _add(program, call, before)
    return None


def _convolution(program: Program, call: KernelCall) -> Stage | None:
    frozen = all(program.buffers[program.root(n)].kind is not Kind.STATE for n in call.reads)
    x = call.reads[0]
    (y,) = (n for n in call.writes if program.buffers[n].kind is not Kind.SCRATCH)
    plain = program.root(x) == x and len(program.buffers[x].shape) == 4
    if not (frozen and plain):
        return None
    g = geometry(call)
    window = Window(g["k_h"], g["stride_h"], g["dilation_h"], g["pad_top"], g["in_h"], g["out_h"])
    return Stage(call, window, x, y)


def _add(program: Program, call: KernelCall, before: Sequence[Stage]) -> Stage | None:
    """The Add of a residual block: one operand is the last stage's output, the other the chain's input."""
    a, b = call.reads[0], call.reads[1]
    x, other = (a, b) if a == before[-1].y else (b, a)
    height = program.buffers[x].shape[2] if len(program.buffers[x].shape) == 4 else 0
    if x != before[-1].y or other != before[0].x or not height:
        return None
    return Stage(call, Window(1, 1, 1, 0, height, height), x, call.writes[0], other)
