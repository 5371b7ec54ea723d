"""A plain stack of convolutions streams in pieces: row by row while it is wide, layer by layer once it is deep."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottlenecks import Bottlenecks
from emitted_models import predictions
from graphs import imported
from mcugrad.pipeline import compile_model
from mcugrad.plan.chains import Chain, find_chains
from mcugrad.plan.cuts import cut
from mcugrad.plan.inplace import overlap_channels
from mcugrad.plan.lower import lower_forward
from mcugrad.plan.panels import use_panels
from mcugrad.plan.place import busiest
from mcugrad.plan.stream import stream
from mcugrad.program import Program

CHAIN = "mg_row_chain_s8"


def _ended(net: Bottlenecks) -> onnx.ModelProto:
    mean = net.b.node("Flatten", net.b.node("GlobalAveragePool", net.x))
    classes = net.b.random(4, net.shape[0], scale=0.3), net.b.random(4)
    return net.b.model(net.input_shape, net.b.node("Gemm", mean, *classes, transB=1, name="head"))


def _mobilenet(width: int = 8, size: int = 48) -> onnx.ModelProto:
    """3x3 with stride 2 and six pairs of depthwise and 1x1, the width doubling where the size halves."""
    net = Bottlenecks(0)
    net.shape, net.input_shape = [3, size, size], (1, 3, size, size)
    net.conv(width, [3, 3], [2, 2], [1] * 4)
    net.relu()
    for stride in (1, 2, 1, 2, 1, 2):
        net.conv(net.shape[0], [3, 3], [stride, stride], [1] * 4, group=net.shape[0])
        net.relu()
        net.conv(width, [1, 1], [1, 1], [0] * 4)
        net.relu()
        width *= stride
    return _ended(net)


def _stack(seed: int) -> onnx.ModelProto:
    """Windows, strides and pads at random, no residuals."""
    net = Bottlenecks(seed)
    net.conv(net.pick(2, 9), [3, 3], [net.pick(1, 2)] * 2, [net.pick(0, 2) for _ in range(4)])
    for _ in range(net.pick(2, 5)):
        net.relu()
        net.depthwise(net.pick(1, 2) if min(net.shape[1:]) > 5 else 1)
        net.conv(net.pick(1, 16), [1, 1], [1, 1], [0] * 4)
    return _ended(net)


@given(st.integers(0, 2**16))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_the_same_bits_in_no_more_memory(seed: int) -> None:
    model = imported(_stack(seed), f"stack{seed}")
    plain, streamed = (compile_model(model, "none", stream=on).program for on in (False, True))
    assert streamed.arena_bytes <= plain.arena_bytes
    samples = np.random.default_rng(seed).integers(-128, 128, (3, *model.input_shape[1:])).astype(np.int8)
    np.testing.assert_array_equal(predictions(model, plain, samples), predictions(model, streamed, samples))


def test_an_image_and_a_few_rows_is_all_that_a_mobilenet_needs() -> None:
    model = imported(_mobilenet(), "mobilenet")
    plain, streamed = (compile_model(model, "head", stream=on).program for on in (False, True))
    image = 3 * 48 * 48
    assert plain.arena_bytes > 1.7 * image
    assert streamed.arena_bytes < 1.2 * image
    kernels = [c.kernel for c in streamed.phase("forward")]
    assert kernels.count(CHAIN) > 1
    assert "mg_conv2d_strips_s8" in kernels[kernels.index(CHAIN) :]
    pushed = compile_model(model, "head", pushed=True).program
    assert pushed.arena_bytes < image


def _busiest(program: Program) -> int:
    return busiest(overlap_channels(program)).size


@pytest.mark.parametrize("seed", range(6))
def test_no_cut_needs_fewer_bytes(seed: int) -> None:
    """Of all ways to cut one run in two pieces or not at all, by what the planner makes of them."""
    program = use_panels(lower_forward(imported(_stack(seed), "cut")))
    runs = find_chains(program)
    best = _busiest(stream(program, cut(program, runs)))
    for run in runs:
        others, n = [c for r in runs if r is not run for c in cut(program, [r])], len(run.stages)
        for pieces in [[(0, n)], *([(0, k), (k, n)] for k in range(1, n))]:
            own = [Chain(run.begin + a, run.stages[a:b]) for a, b in pieces if b - a > 1]
            chains = sorted([*others, *own], key=lambda c: c.begin)
            assert best <= _busiest(stream(program, chains)), pieces
