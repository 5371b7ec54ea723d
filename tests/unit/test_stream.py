"""Frozen layers that run row by row compute the same bits in less memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottlenecks import Bottlenecks
from emitted_models import predictions
from graphs import imported
from kernel_library import Kernels
from mcugrad.pipeline import compile_model
from mcugrad.plan import sram_and_speed, stream
from mcugrad.plan.chains import Chain, Stage, Window, distance, ring_rows, turns
from mcugrad.program import KernelCall, Program, Table

CHAIN = "mg_row_chain_s8"
SEEDS = st.integers(0, 2**16)


def _kernels(program: Program) -> list[str]:
    return [call.kernel for call in program.calls]


@given(SEEDS)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_the_same_bits_in_no_more_memory(seed: int) -> None:
    model = imported(Bottlenecks(seed).build(), f"net{seed}")
    plain, streamed = (compile_model(model, "none", stream=on).program for on in (False, True))
    assert CHAIN not in _kernels(plain)
    assert streamed.arena_bytes <= plain.arena_bytes
    assert CHAIN in _kernels(streamed) or streamed.arena_bytes == plain.arena_bytes
    samples = np.random.default_rng(seed).integers(-128, 128, (4, *model.input_shape[1:])).astype(np.int8)
    np.testing.assert_array_equal(predictions(model, plain, samples), predictions(model, streamed, samples))


def test_a_wide_tensor_between_frozen_layers_never_exists() -> None:
    """An expansion to 64 channels takes less than its input and output together."""
    net = Bottlenecks(0)
    net.shape, net.input_shape = [4, 32, 32], (1, 4, 32, 32)
    net.conv(64, [1, 1], [1, 1], [0] * 4)
    net.conv(64, [3, 3], [1, 1], [1] * 4, group=64)
    net.conv(4, [1, 1], [1, 1], [0] * 4)
    y = net.b.node("Flatten", net.b.node("GlobalAveragePool", net.x))
    graph = net.b.model(net.input_shape, net.b.node("Gemm", y, net.b.random(4, 4), net.b.random(4), transB=1))
    program = compile_model(imported(graph, "wide"), "head").program
    rows = 64 * 32 * (3 + 1)  # three of the expansion, one behind the depthwise convolution
    assert program.arena_bytes < 2 * 4 * 32 * 32 + rows + 2500  # scratch


def test_for_speed_the_arena_grows_to_what_there_is() -> None:
    """From the smallest arena on every choice is larger and cheaper, and a limit is used, not exceeded."""
    model = imported(Bottlenecks(7).build(), "net")
    points = sram_and_speed(model, None)
    assert len(points) > 1
    assert points == sorted(points)
    assert [more for _, more in points] == sorted((more for _, more in points), reverse=True)
    assert points[-1][1] == 0
    assert CHAIN not in _kernels(compile_model(model, "none", arena=points[-1][0]).program)
    chains = [_kernels(compile_model(model, "none", arena=size).program).count(CHAIN) for size, _ in points]
    assert chains == sorted(chains, reverse=True)
    for size, _ in points:
        assert compile_model(model, "none", arena=size).program.arena_lower_bound <= size


def test_several_rows_a_turn_where_the_arena_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layers set the size of this arena: behind them the rings may be longer, and the bits are the same."""
    net = Bottlenecks(0)
    net.shape, net.input_shape = [4, 64, 64], (1, 4, 64, 64)
    net.conv(8, [3, 3], [4, 4], [1] * 4)
    for stride in (1, 2):
        net.conv(80, [1, 1], [1, 1], [0] * 4)
        net.conv(80, [3, 3], [stride, stride], [1] * 4, group=80)
        net.conv(8, [1, 1], [1, 1], [0] * 4)
    y = net.b.node("Flatten", net.b.node("GlobalAveragePool", net.x))
    graph = net.b.model(net.input_shape, net.b.node("Gemm", y, net.b.random(4, 8), net.b.random(4), transB=1))
    model = imported(graph, "roomy")
    several = compile_model(model, "none").program
    monkeypatch.setattr(stream, "TURNS", ())
    single = compile_model(model, "none").program
    assert (max(_turns(several)), max(_turns(single))) == (4, 1)
    assert several.arena_bytes == single.arena_bytes
    samples = np.random.default_rng(0).integers(-128, 128, (2, *model.input_shape[1:])).astype(np.int8)
    np.testing.assert_array_equal(predictions(model, several, samples), predictions(model, single, samples))


def _turns(program: Program) -> list[int]:
    """Of every stage of every chain."""
    tables = [a for call in program.calls if call.kernel == CHAIN for a in call.args if isinstance(a, Table)]
    return [int(str(dict(stage.fields)["turn"])) for table in tables for stage in table.rows]


def test_what_the_backward_reads_does_not_stream() -> None:
    assert CHAIN not in _kernels(compile_model(imported(Bottlenecks(1).build(), "net"), "all").program)


@st.composite
def _chains(draw: st.DrawFn) -> Chain:
    """Windows over each other's output, closed by an Add where input and output have as many rows."""
    height = first = draw(st.integers(1, 14))
    stages: list[Stage] = []
    call = KernelCall("", "", "", (), (), ())
    for _ in range(draw(st.integers(1, 4))):
        taps, dilation = draw(st.integers(1, min(5, height))), draw(st.integers(1, 2))
        dilation = dilation if dilation * (taps - 1) < height else 1
        stride, pad, after = draw(st.integers(1, 3)), draw(st.integers(0, taps - 1)), draw(st.integers(0, taps - 1))
        out = (height + pad + after - dilation * (taps - 1) - 1) // stride + 1
        window = Window(taps, stride, dilation, pad, height, out)
        stages.append(Stage(call, window, "", "", turn=draw(st.integers(1, 4))))
        height = out
    if height == first and draw(st.booleans()):
        stages.append(Stage(call, Window(1, 1, 1, 0, height, height), "", "", other="x"))
    return Chain(0, tuple(stages))


@given(_chains(), st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None, max_examples=300)
def test_no_row_is_read_after_it_was_written_over(chain: Chain, x_row: int, y_row: int) -> None:
    """Plays the turns on bytes that know what they hold, with rings of the planned size and the planned distance."""
    stages, apart, held = chain.stages, distance(chain, x_row, y_row), ring_rows(chain.stages)
    height, last = stages[0].window.height, len(stages) - 1
    memory: dict[int, tuple[str, int]] = {apart + i: ("x", i // x_row) for i in range(height * x_row)}
    rings: list[dict[int, int]] = [{} for _ in stages]

    def expect_input(row: int, first: int = 0) -> None:
        assert all(memory.get(apart + row * x_row + i) == ("x", row) for i in range(first, x_row))

    for index, made in turns(stages):
        window, rows = stages[index].window, range(made[index], made[index] + stages[index].count(made[index]))
        is_add = stages[index].other is not None
        for r in {r for row in rows for r in window.rows(row)}:
            if index == 0:
                expect_input(r)
            else:
                assert rings[index][r % held[index]] == r
        for row in rows:
            if index < last:
                rings[index + 1][row % held[index + 1]] = row
                continue
            for i in range(y_row):  # an Add reads an element before it writes that one
                if is_add and i < x_row:
                    assert memory.get(apart + row * x_row + i) == ("x", row)
                memory[row * y_row + i] = ("y", row)
    assert all(memory[r * y_row + i] == ("y", r) for r in range(stages[last].window.out_height) for i in range(y_row))


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), SEEDS)
@settings(deadline=None)
def test_planes_become_rows_in_place(kernels: Kernels, channels: int, height: int, width: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, (channels, height, width)).astype(np.int8)
    moved = x.copy()
    scratch = np.full(2 * width + (channels * height + 7) // 8, 85, np.int8)
    kernels("planes_to_rows_s8", moved, channels, height, width, scratch)
    np.testing.assert_array_equal(moved.reshape(height, channels, width), x.transpose(1, 0, 2))


@pytest.mark.parametrize("scheme", ["none", "head", "biases"])
def test_no_two_living_buffers_share_more_than_the_plan_says(scheme: str) -> None:
    program = compile_model(imported(Bottlenecks(3).build(), "net"), scheme).program
    spans = sorted(program.lifetimes().items())
    allowed = {(low, up): least for low, up, least in program.overlaps}
    for i, (a, (first, last)) in enumerate(spans):
        for b, (other_first, other_last) in spans[i + 1 :]:
            if last < other_first or other_last < first:
                continue
            start, other = program.offsets[a], program.offsets[b]
            apart = start + program.buffers[a].nbytes <= other or other + program.buffers[b].nbytes <= start
            below = (a, b) in allowed and start + allowed[a, b] <= other
            above = (b, a) in allowed and other + allowed[b, a] <= start
            assert apart or below or above, (a, b)
