"""Small networks that were once wrong, each with everything that is claimed of random ones."""

from __future__ import annotations

import onnx
import pytest

from frontend_graphs import Builder
from layerwise import Agreement
from mcugrad.errors import McugradError
from mcugrad.frontend.importer import import_model
from mcugrad.pipeline import compile_model
from quantiser import OPTIONS, Options
from random_cases import of
from random_checks import check

pytestmark = pytest.mark.device
SEEDS = (0, 6, 12)  # those that the Relax VM runs


def _five_axes(kind: str) -> onnx.ModelProto:
    """A tensor (1, 2, 3, 5, 4) between two Reshapes, and what is done to it."""
    b = Builder(17, seed=1)
    x = b.node("Conv", "x", b.random(6, 2, 3, 3, scale=0.3), b.random(6), pads=[1] * 4)
    y = b.node("Reshape", x, b.const([1, 2, 3, 5, 4], "i8"))
    leaky = b.node("LeakyRelu", y, alpha=0.1)
    if kind == "pad":
        y = b.node("Pad", leaky, b.const([0, 0, 0, 1, 0, 0, 0, 0, 0, 2], "i8"))
    elif kind == "pad three":
        y = b.node("Pad", leaky, b.const([0, 0, 1, 1, 0, 0, 0, 0, 0, 2], "i8"))
    elif kind == "pixels":
        y = b.node("Transpose", b.node("Reshape", leaky, b.const([1, 2, 3, 5, 2, 2], "i8")), perm=[0, 5, 4, 3, 2, 1])
    elif kind.startswith("concat"):
        y = b.node("Concat", y, leaky, axis=int(kind[-1]))
    else:
        y = b.node("Transpose", leaky, perm={"shuffle": [0, 2, 1, 3, 4], "reverse": [0, 4, 3, 2, 1]}[kind])
    y = b.node("Conv", b.node("Reshape", y, b.const([1, 6, -1, 4], "i8")), b.random(4, 6, 1, 1, scale=0.3), b.random(4))
    y = b.node("Flatten", b.node("GlobalAveragePool", y))
    return b.model((1, 2, 5, 4), b.node("Gemm", y, b.random(3, 4), b.random(3), transB=1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["shuffle", "reverse", "pixels", "pad", "concat2", "concat4"])
def test_tensors_of_five_axes(kind: str, seed: int) -> None:
    """A channel shuffle's Transpose had a descriptor of four axes; blocks and errors took the fifth for none."""
    assert not check(of(_five_axes(kind), seed), Agreement())


def test_a_pad_that_no_kernel_does_is_refused() -> None:
    with pytest.raises(McugradError, match="pads too many axes"):
        check(of(_five_axes("pad three"), 0), Agreement())


def _reshaped_input(kind: str) -> onnx.ModelProto:
    """A flat sample that the graph takes for an image of channels last, or an image that it takes apart."""
    b = Builder(13, seed=3)
    if kind == "channels last":
        shape: tuple[int, ...] = (1, 60)
        x = b.node("Transpose", b.node("Reshape", "x", b.const([-1, 6, 5, 2], "i8")), perm=[0, 3, 1, 2])
    else:
        shape = (1, 1, 8, 6)
        x = b.node("Transpose", b.node("Reshape", "x", b.const([1, 1, 4, 2, 3, 2], "i8")), perm=[0, 1, 3, 5, 2, 4])
        x = b.node("Reshape", x, b.const([1, 4, 4, 3], "i8"))
    channels = 2 if kind == "channels last" else 4
    x = b.node("Relu", b.node("Conv", x, b.random(6, channels, 3, 3, scale=0.3), b.random(6), pads=[1] * 4))
    y = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model(shape, b.node("Gemm", y, b.random(3, 6), b.random(3), transB=1))


@pytest.mark.parametrize("kind", ["channels last", "pixels apart"])
def test_the_input_reshaped_and_transposed(kind: str) -> None:
    """The sample's own shape was forgotten: `run` wanted samples of another shape, or ended in a traceback."""
    case = of(_reshaped_input(kind), 0)
    assert import_model(case.canonical, "net", float_head=False).onnx_shape == case.x[:1].shape
    assert not check(case, Agreement())


def test_scores_of_an_image_are_no_classes() -> None:
    b = Builder(17, seed=4)
    model = b.model((1, 2, 6, 6), b.node("Conv", "x", b.random(3, 2, 3, 3), b.random(3)))
    with pytest.raises(McugradError, match="end the graph with a Flatten"):
        compile_model(import_model(of(model, 0).canonical, "net", float_head=False), "all")


def _padded(value: float) -> onnx.ModelProto:
    """A Pad behind a Relu, by a value of either sign."""
    b = Builder(17, seed=2)
    x = b.node("Relu", b.node("Conv", "x", b.random(4, 2, 3, 3, scale=0.3), b.random(4)))
    y = b.node("Pad", x, b.const([0, 0, 0, 1, 0, 0, 2, 1], "i8"), b.const(value))
    y = b.node("Add", b.node("Conv", y, b.random(4, 4, 3, 3, scale=0.2), pads=[1] * 4), y)
    y = b.node("Flatten", b.node("GlobalAveragePool", y))
    return b.model((1, 2, 7, 6), b.node("Gemm", y, b.random(3, 4), b.random(3), transB=1))


@pytest.mark.parametrize("options", [None, OPTIONS[0], OPTIONS[7]], ids=str)
@pytest.mark.parametrize("value", [-0.3, 0.5])
def test_pad_by_a_value_outside_the_operand_s_grid(value: float, options: Options | None) -> None:
    """It was clipped to that grid before it came to the Pad's own: a negative value behind a Relu was 0."""
    assert not check(of(_padded(value), 0, options), Agreement())
