"""Where the frozen prefix ends, and what its record holds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from graphs import imported, residual_2d, watch
from mcugrad.pipeline import compile_model
from mcugrad.plan.prefix import MOST, Prefix, frozen_prefix
from mcugrad.program import Kind, Program
from mcugrad.scheme import Bias, Scheme

SCHEMES: dict[str, str | Scheme] = {
    "head": "head",
    "last": Scheme(bias=Bias(last=2), weight={"last": 0.5}),
    "middle": Scheme(weight={"dilated": 1.0}, errors="int16"),
}


@cache
def program_of(scheme: str) -> Program:
    return compile_model(imported(residual_2d()), SCHEMES.get(scheme, scheme)).program


def _cut(program: Program) -> Prefix:
    found = frozen_prefix(program)
    assert found is not None
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_before_the_cut_is_trained(scheme: str) -> None:
    program = program_of(scheme)
    before = program.calls[: _cut(program).calls]
    assert all(program.buffers[n].kind is not Kind.STATE for call in before for n in (*call.reads, *call.writes))
    assert all(call.phase == "forward" for call in before)
    assert sum(call.macs for call in before) == _cut(program).macs


@pytest.mark.parametrize("scheme", SCHEMES)
def test_little_is_left_that_could_be_skipped(scheme: str) -> None:
    program = program_of(scheme)
    first = next(
        i for i, call in enumerate(program.calls) if any(program.buffers[n].kind is Kind.STATE for n in call.reads)
    )
    assert _cut(program).macs >= MOST * sum(call.macs for call in program.calls[:first]) > 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pieces_are_disjoint_and_inside_the_arena(scheme: str) -> None:
    program = program_of(scheme)
    pieces = _cut(program).pieces
    ends = [0, *(start + size for start, size in pieces)]
    assert all(end < start or end == start == 0 for end, (start, _) in zip(ends, pieces, strict=False))
    assert ends[-1] <= program.arena_bytes
    assert _cut(program).nbytes == sum(size for _, size in pieces)


def test_the_record_reaches_into_the_backward() -> None:
    """With a layer in the middle trained, masks and sums of the prefix would be no use to the layers behind it; what
    is kept is what they read."""
    program = program_of("middle")
    cut = _cut(program)
    behind = {program.root(n) for call in program.calls[cut.calls :] for n in call.reads}
    before = {program.root(n) for call in program.calls[: cut.calls] for n in call.writes}
    kept = {n for n in (before | {program.input}) & behind if program.buffers[n].in_arena}
    covered = {at for start, size in cut.pieces for at in range(start, start + size)}
    wanted = {at for n in kept for at in range(program.offsets[n], program.offsets[n] + program.buffers[n].nbytes)}
    assert covered == wanted


def test_buffers_that_share_bytes_are_kept_once() -> None:
    """The record is a union of addresses: a planner may give two buffers the same."""
    program = program_of("middle")
    (start, size), *_ = _cut(program).pieces
    twin = replace(program.buffers[program.input], name="twin", dtype="int8", shape=(size,), kind=Kind.ACTIVATION)
    calls = list(program.calls)
    calls[0] = replace(calls[0], writes=(*calls[0].writes, "twin"))
    calls[-1] = replace(calls[-1], reads=(*calls[-1].reads, "twin"))
    shared = replace(
        program,
        buffers={**program.buffers, "twin": twin},
        calls=tuple(calls),
        offsets={**program.offsets, "twin": start},
    )
    assert _cut(shared).nbytes == _cut(program).nbytes


@pytest.mark.parametrize("scheme", ["none", "all"])
def test_where_nothing_is_frozen_or_nothing_trains_there_is_no_prefix(scheme: str) -> None:
    assert frozen_prefix(program_of(scheme)) is None
    assert frozen_prefix(compile_model(imported(watch()), scheme).program) is None
