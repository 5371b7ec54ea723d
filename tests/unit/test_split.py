"""Of a weight that trains in part, SRAM holds that part, wherever all who read it can read it in two."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from frontend_graphs import Builder
from graphs import imported, training_parts
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model
from mcugrad.plan.panels import in_pairs
from mcugrad.program import Kind, Program
from mcugrad.scheme import Channels, Scheme


def _network() -> onnx.ModelProto:
    """(1, 3, 6, 6) -> (1, 4): a 3x3 convolution, 1x1 from 9 to 7 and to 12 channels, 3x3 to 5."""
    b = Builder()
    x = b.node("Relu", b.node("Conv", "x", b.random(9, 3, 3, 3, scale=0.3), b.random(9), name="stem", pads=[1] * 4))
    x = b.node("Relu", b.node("Conv", x, b.random(7, 9, 1, 1, scale=0.3), b.random(7), name="narrow"))
    x = b.node("Relu", b.node("Conv", x, b.random(12, 7, 1, 1, scale=0.3), b.random(12), name="expand"))
    x = b.node("Relu", b.node("Conv", x, b.random(5, 12, 3, 3, scale=0.3), b.random(5), name="last"))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model((1, 3, 6, 6), b.node("Gemm", x, b.random(4, 5, scale=0.3), b.random(4), transB=1, name="head"))


@pytest.fixture(scope="module")
def model() -> Model:
    return imported(_network())


@pytest.mark.parametrize(("share", "held"), [(0.2, 2), (0.4, 4), (0.5, 6), (1.0, 9)])
def test_the_first_input_channels_are_state_and_the_others_constants(model: Model, share: float, held: int) -> None:
    """As many as train, and one more where that is odd: two channels share a word of the others."""
    program, factory = training_parts(model, narrow=share), model.parameter("narrow.weight").value
    weight = program.buffers["narrow.weight"]
    assert (weight.kind, weight.shape) == (Kind.STATE, (7, held, 1, 1))
    np.testing.assert_array_equal(weight.value, factory[:, :held])
    if held < 9:
        frozen = program.buffers[weight.frozen]
        assert frozen.kind is Kind.CONST
        np.testing.assert_array_equal(frozen.value, in_pairs(factory[:, held:]))
        readers = [c.kernel for c in program.calls if frozen.name in c.reads]
        assert readers == ["mg_conv2d_panels_s8", "mg_conv2d_pointwise_dgrad_s8"]


def test_a_window_is_split_where_no_gradient_goes_through_it(model: Model) -> None:
    """The gradient of a 3x3 convolution by its input reads its weights whole."""
    scheme = Scheme.model_validate({"weight": {"last": 0.4}})
    assert compile_model(model, scheme).program.buffers["last.weight"].shape == (5, 6, 3, 3)
    assert training_parts(model, last=0.4).buffers["last.weight"].shape == (5, 12, 3, 3)


def test_others_stay_whole(model: Model) -> None:
    """Of other errors; some output channels; depthwise or grouped weights are no matrices to begin with."""
    assert training_parts(model, errors="int16", narrow=0.4).buffers["narrow.weight"].shape == (7, 9, 1, 1)
    some = training_parts(model, narrow=Channels(outputs=(0, 1)))
    assert some.buffers["narrow.weight"].shape == (7, 9, 1, 1)


def test_lists_that_cannot_all_be_first_stay_whole() -> None:
    """Two layers that want different channels of one tensor: the smaller share of work is scattered."""
    b = Builder()
    x = b.node("Relu", b.node("Conv", "x", b.random(8, 3, 1, 1), name="stem"))
    y, z = (b.node("Conv", x, b.random(n, 8, 1, 1), name=name) for n, name in ((9, "wide"), (9, "other")))
    y = b.node("Flatten", b.node("GlobalAveragePool", b.node("Relu", b.node("Add", y, z))))
    graph = b.model((1, 3, 4, 4), b.node("Gemm", y, b.random(4, 9), transB=1, name="head"))
    program = _plan_lists(imported(graph))
    assert program.buffers["wide.weight"].shape == (9, 4, 1, 1)
    assert program.buffers["other.weight"].shape == (9, 8, 1, 1)


def _plan_lists(model: Model) -> Program:
    lists = {"wide": Channels(inputs=(0, 2, 4, 6)), "other": Channels(inputs=(1, 2))}
    return compile_model(model, Scheme.model_validate({"weight": lists})).program
