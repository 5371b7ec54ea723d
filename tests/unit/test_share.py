"""Frozen convolutions have a kernel of their own only where it is worth its flash."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from frontend_graphs import Builder
from graphs import imported
from mcugrad.pipeline import compile_model
from mcugrad.plan import share
from mcugrad.plan.panels import UNPACKED, in_pairs
from mcugrad.plan.strips import STRIPS
from mcugrad.program import Program
from mcugrad.scheme import Bias, Scheme

LAST = Scheme(bias=Bias(last=1), weight={"last": 1.0})


def _three_layers() -> onnx.ModelProto:
    """(1, 3, 12, 12) -> (1, 4) by 3x3 and two pointwise convolutions."""
    b = Builder()
    x = b.node("Conv", "x", b.random(8, 3, 3, 3, scale=0.3), name="stem", pads=[1, 1, 1, 1])
    x = b.node("Relu", b.node("Conv", x, b.random(12, 8, 1, 1, scale=0.3), name="middle"))
    x = b.node("Relu", b.node("Conv", x, b.random(8, 12, 1, 1, scale=0.3), name="last"))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model((1, 3, 12, 12), b.node("Gemm", x, b.random(4, 8, scale=0.3), b.random(4), transB=1, name="head"))


def _convolutions(program: Program) -> Counter[str]:
    return Counter(c.kernel for c in program.calls if c.op == "Conv" and c.work == "forward")


def test_a_small_network_has_one_kernel_for_frozen_and_trained_convolutions() -> None:
    program = compile_model(imported(_three_layers()), LAST).program
    assert _convolutions(program) == {UNPACKED: 3}
    assert not program.buffers["middle.weight"].in_pairs


def test_frozen_weights_are_then_as_the_network_has_them() -> None:
    model = imported(_three_layers())
    frozen = compile_model(model, "none").program
    shared = compile_model(model, LAST).program
    for name in ("stem.weight", "middle.weight"):
        before, after = frozen.buffers[name].value, shared.buffers[name].value
        assert before is not None
        assert after is not None
        np.testing.assert_array_equal(in_pairs(after), before)


@pytest.mark.parametrize("scheme", ["head", "none"])
def test_where_no_convolution_trains_weights_lie_in_pairs(scheme: str) -> None:
    assert UNPACKED not in _convolutions(compile_model(imported(_three_layers()), scheme).program)


def test_asked_for_speed_they_are_strips() -> None:
    program = compile_model(imported(_three_layers()), LAST, arena=1 << 16).program
    assert _convolutions(program) == {STRIPS: 2, UNPACKED: 1}


def test_so_they_are_where_that_saves_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stem and middle have 31,104 + 13,824 MACs, and 4 + 6 pairs of channels times 36 panels: 28,656 instructions."""
    model = imported(_three_layers())
    for worth, kernels in ((28_656, {UNPACKED: 3}), (28_655, {STRIPS: 2, UNPACKED: 1})):
        monkeypatch.setattr(share, "CODE", 1)
        monkeypatch.setattr(share, "WORTH_A_BYTE", worth)
        assert _convolutions(compile_model(model, LAST).program) == kernels
