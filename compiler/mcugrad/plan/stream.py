"""Program -> Program in which frozen layers run row by row wherever that makes the arena smaller.

A chain of calls becomes one (mg_row_chain_s8): of a tensor between its layers only a ring of rows exists. A tensor that
passes from chain to chain lies row by row instead of channel by channel (HCW), so that a chain's output can grow over
the rows of its input that have been read; the sample is brought into that order in place.

Streaming costs a call a row, and a depthwise row widens again what the row above it has widened. So a chain streams
only where the arena needs it, and makes several rows in a turn where the arena has room for their rings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mcugrad.descriptors import conv2d_rows, geometry, layout
from mcugrad.errors import McugradError
from mcugrad.plan.chains import (
    ADD,
    CONV,
    DEPTHWISE,
    Chain,
    Stage,
    distance,
    find_chains,
    only_used_by,
    ring_rows,
    row_bytes,
    scratch_bytes,
)
from mcugrad.plan.cuts import cut
from mcugrad.plan.fewest import fewest
from mcugrad.program import (
    Arena,
    Argument,
    Buffer,
    Field,
    Function,
    KernelCall,
    Kind,
    Place,
    Program,
    PushedRows,
    Ref,
    Struct,
    Table,
    Value,
)

RUN = {CONV: "mg_row_stage_conv2d_s8", DEPTHWISE: "mg_row_stage_depthwise_s8", ADD: "mg_row_stage_add_s8"}
INPUT_ROWS = "input.rows"
TURNS = (8, 4, 2)  # rows of a depthwise stage in a turn, at best; otherwise one
WIDENED, ROW = 3, 200  # instructions an element, a channel's turn: fits what mcunet-5fps shows within a third


def stream_where_needed(program: Program, arena: Callable[[Program], int], limit: int = 0) -> Program:
    """Stream the fewest chains, the dearest left out first, with which `arena` is at most `limit`, or where that cannot
    be as small as with all of them."""
    chains = cut(program, find_chains(program))
    goal = max(limit, arena(stream(program, chains)))
    return stream(program, _longest_turns(program, _fewest(program, chains, arena, goal), arena, goal))


def frontier(program: Program, arena: Callable[[Program], int]) -> list[tuple[Program, int]]:
    """(program, instructions that streaming adds as far as they can be estimated), from the smallest `arena` to no
    streaming; each is the cheapest of its arena or smaller ones that leaving out one chain after another finds."""
    chains, points = cut(program, find_chains(program)), list[tuple[Program, int]]()
    while True:
        size = arena(stream(program, chains))
        chains = _fewest(program, chains, arena, size)
        longest = _longest_turns(program, chains, arena, size)
        points.append((stream(program, longest), sum(map(_cost, longest))))
        if not chains:
            return points
        without = [[c for c in chains if c is not chain] for chain in chains]
        chains = min(without, key=lambda fewer: (arena(stream(program, fewer)), sum(map(_cost, fewer))))


def _fewest(
    program: Program, chains: Sequence[Chain], arena: Callable[[Program], int], goal: int, *, pushed: bool = False
) -> list[Chain]:
    """`chains` without those that `arena` <= `goal` does not need; of a pushed sample the first one stays."""
    dearest_first = sorted(chains[1:] if pushed else chains, key=_cost, reverse=True)
    return fewest(chains, dearest_first, lambda kept: arena(stream(program, kept, pushed=pushed)) <= goal)


def _longest_turns(
    program: Program, chains: Sequence[Chain], arena: Callable[[Program], int], goal: int, *, pushed: bool = False
) -> list[Chain]:
    """`chains` with as many rows in a turn as `arena` <= `goal` allows, the dearest first."""
    found = list(chains)
    for chain in sorted(chains, key=_cost, reverse=True):
        at = found.index(chain)
        for rows in TURNS:
            longer = chain.with_turns(rows)
            tried = [*found[:at], longer, *found[at + 1 :]]
            if _cost(longer) < _cost(chain) and arena(stream(program, tried, pushed=pushed)) <= goal:
                found = tried
                break
    return found


def stream_pushed(program: Program, arena: Callable[[Program], int], limit: int = 0) -> Program:
    """The sample comes in rows, and the first chain takes them in: as long a chain as makes `arena` smallest.

    Raises McugradError where the first layers cannot be a chain.
    """
    chains = cut(program, find_chains(program), pushed=True)
    firsts = _first_chains(program, chains)
    if not firsts:
        layer = program.calls[0].layer
        raise McugradError(
            f"--input pushed: the network begins with '{layer}' ({program.calls[0].op}), which cannot run row by row: "
            "that takes frozen convolutions of which the backward needs nothing; train fewer layers, or leave the "
            "input resident"
        )
    plans = [[first, *chains[merged:]] for merged, first in enumerate(firsts, 1)]
    sizes = [arena(stream(program, plan, pushed=True)) for plan in plans]
    least = min(sizes)
    goal = max(limit, least)
    kept = _fewest(program, plans[sizes.index(least)], arena, goal, pushed=True)
    return stream(program, _longest_turns(program, kept, arena, goal, pushed=True), pushed=True)


def _first_chains(program: Program, chains: Sequence[Chain]) -> list[Chain]:
    """The first chain, and it together with those behind it as far as they follow without a gap or a second reader."""
    found: list[Chain] = []
    for chain in chains:
        end, x = (len(found[-1].stages), found[-1].y) if found else (0, program.input)
        readers = [c for c in program.calls if chain.x in {program.root(n) for n in c.reads}]
        if (chain.begin, chain.x) != (end, x) or len(readers) != 1:
            break
        found.append(Chain(0, (*(found[-1].stages if found else ()), *chain.stages)))
    return found


def _cost(chain: Chain) -> int:
    """Instructions that streaming adds, estimated: elements that depthwise stages widen once more, and their turns."""
    again = rows = 0
    for stage in chain.stages:
        if stage.call.kernel == DEPTHWISE:
            g = geometry(stage.call)
            turns = -(-stage.window.out_height // stage.turn)
            again += (stage.window.span - stage.window.stride) * g["in_w"] * g["in_c"] * turns
            rows += g["in_c"] * turns
    return WIDENED * again + ROW * rows


def stream(program: Program, chains: Sequence[Chain], *, pushed: bool = False) -> Program:
    """`program` with these chains as one call each; `pushed`: the first of them takes in the sample row by row."""
    if not chains:
        return program
    rows = _row_tensors(program, chains) - ({program.input} if pushed else set())
    buffers, calls, at = dict(program.buffers), list[KernelCall](), 0
    for chain in chains:
        calls += program.calls[at : chain.begin]
        builder = _Builder(program, chain, rows, pushed=pushed and chain is chains[0])
        calls.append(builder.call())
        buffers |= builder.buffers
        at = chain.begin + len(chain.stages)
    calls += program.calls[at:]
    buffers |= {name: replace(buffers[name], rows_first=True) for name in rows}
    overlaps = tuple(_overlap(program, c) for c in chains if c.x in rows and c.y in rows)
    overlaps = (*program.overlaps, *overlaps)
    streamed = replace(program, buffers=buffers, calls=tuple(calls), overlaps=overlaps, pushed=pushed)
    return _input_in_rows(streamed) if program.input in rows else streamed


def _row_tensors(program: Program, chains: Sequence[Chain]) -> set[str]:
    """Tensors that only chains read and write; and the sample, if a chain is the only one to read it."""
    inside = {id(s.call) for c in chains for s in c.stages}
    ends = {c.x for c in chains} | {c.y for c in chains}
    found = set()
    for name in ends:
        written = name == program.input or any(name in c.writes for c in program.calls)
        if written and only_used_by(program, name, inside):
            found.add(name)
    return found


def _overlap(program: Program, chain: Chain) -> tuple[str, str, int]:
    x, y = program.buffers[chain.x], program.buffers[chain.y]
    return chain.y, chain.x, distance(chain, row_bytes(x), row_bytes(y))


def _input_in_rows(program: Program) -> Program:
    """The sample arrives in planes: its first reader finds it in rows."""
    sample = program.buffers[program.input]
    _, channels, height, width = sample.shape
    scratch = Buffer("input.moved", "int8", (2 * width + (channels * height + 7) // 8,), Kind.SCRATCH, "input")
    rows = replace(sample, name=INPUT_ROWS)
    args = (Ref(program.input), Value(channels), Value(height), Value(width), Ref(scratch.name))
    writes = (scratch.name, INPUT_ROWS)
    move = KernelCall("mg_planes_to_rows_s8", "input", "Transpose", args, (program.input,), writes)
    buffers = {
        **program.buffers,
        scratch.name: scratch,
        INPUT_ROWS: rows,
        program.input: replace(sample, rows_first=False),
    }
    calls = [replace(c, reads=tuple(INPUT_ROWS if n == program.input else n for n in c.reads)) for c in program.calls]
    views = {**program.views, INPUT_ROWS: program.input}
    return replace(program, buffers=buffers, calls=(move, *calls), views=views)


class _Builder:
    """One chain's call with its rings and scratch."""

    def __init__(self, program: Program, chain: Chain, rows: set[str], *, pushed: bool) -> None:
        self.program, self.chain, self.rows, self.pushed = program, chain, rows, pushed
        layers = dict.fromkeys(s.call.layer for s in chain.stages)
        self.layer = "+".join(layers)
        self.buffers: dict[str, Buffer] = {}
        rows_of = dict(zip((s.x for s in chain.stages), ring_rows(chain.stages), strict=True))
        self.rings = {s.x: self._ring(s.x, f"{s.x}.ring", rows_of[s.x]) for s in chain.stages[1:]}
        if pushed:
            self.rings[chain.x] = self._ring(chain.x, chain.x, rows_of[chain.x])
        self.scratch = self._scratch()
        self.made = self._add(Buffer(f"{self.layer}.made", "int32", (len(chain.stages),), Kind.SCRATCH, self.layer))

    def call(self) -> KernelCall:
        stages = self.chain.stages
        args: tuple[Argument, ...] = (Table(tuple(self._stage(s) for s in stages)), Value(len(stages)))
        args = (*args, Arena(), Ref(self.made.name), *([PushedRows()] if self.pushed else []))
        inner = {*self.rings, *(n for s in stages for n in s.call.writes)}
        reads = [n for s in stages for n in s.call.reads if n not in inner]
        return KernelCall(
            "mg_row_chain_advance_s8" if self.pushed else "mg_row_chain_s8",
            self.layer,
            "Chain",
            args,
            tuple(dict.fromkeys(reads)),
            (*self.buffers, self.chain.y),
            work="forward",
            macs=sum(s.call.macs for s in stages),
        )

    def _add(self, buffer: Buffer) -> Buffer:
        self.buffers[buffer.name] = buffer
        return buffer

    def _ring(self, source: str, name: str, rows: int) -> Buffer:
        """`rows` rows of a tensor."""
        tensor = self.program.buffers[source]
        _, channels, _, width = tensor.shape
        shape = (1, channels, rows, width)
        return self._add(replace(tensor, name=name, shape=shape, rows_first=True))

    def _scratch(self) -> Buffer:
        """As much as the stage that needs most: they take turns."""
        size = max(scratch_bytes(self.program, s) for s in self.chain.stages)
        return self._add(Buffer(f"{self.layer}.scratch", "int8", (size,), Kind.SCRATCH, self.layer))

    def _stage(self, stage: Stage) -> Struct:
        rows = conv2d_rows(self._geometry(stage), self._layout(stage.x), self._layout(stage.y))
        fields: list[tuple[str, Field]] = [("rows", rows)]
        args = stage.call.args
        if stage.other is not None:
            add = args[0]
            assert isinstance(add, Struct)
            fields += [("add", _swapped(add, stage)), ("other_rows", self._layout(stage.other))]
            fields.append(("other", self._place(stage.other)))
        else:
            weights = next(a for a in args if isinstance(a, Struct) and a.type == "mg_weights_t")
            fields.append(("weights", weights))
        fields += [("x", self._place(stage.x)), ("scratch", Place(self.scratch.name)), ("y", self._place(stage.y))]
        return Struct("mg_row_stage_t", (("run", Function(RUN[stage.call.kernel])), ("turn", stage.turn), *fields))

    def _geometry(self, stage: Stage) -> Struct:
        if stage.other is None:
            return Struct("mg_conv2d_t", tuple(geometry(stage.call).items()))
        _, channels, height, width = self.program.buffers[stage.y].shape
        ones = {"k_h": 1, "stride_h": 1, "dilation_h": 1}
        sizes = {"in_h": height, "out_c": channels, "out_h": height, "out_w": width}
        return Struct("mg_conv2d_t", tuple({**sizes, **ones}.items()))

    def _layout(self, tensor: str) -> Struct:
        ring = self.rings.get(tensor)
        shape = (ring or self.program.buffers[tensor]).shape
        return layout(shape, rows_first=ring is not None or tensor in self.rows)

    def _place(self, tensor: str) -> Place:
        return Place(self.rings[tensor].name if tensor in self.rings else tensor)


def _swapped(add: Struct, stage: Stage) -> Struct:
    """mg_add_t for (the ring, the chain's input), whichever of them was the Add's first operand."""
    fields = dict(add.fields)
    if stage.call.reads[0] != stage.x:
        pairs = (("a_scale", "b_scale"), ("a_zero", "b_zero"))
        fields |= {p: fields[q] for pair in pairs for p, q in (pair, pair[::-1])}
    return Struct(add.type, tuple(fields.items()))
