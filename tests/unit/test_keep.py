"""Of a saved activation, the backward finds those channels whose weights train."""

from __future__ import annotations

import onnx
import pytest

from frontend_graphs import Builder
from graphs import imported, training_parts
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model
from mcugrad.program import Kind, Program
from mcugrad.scheme import Channels, Scheme


def _network() -> onnx.ModelProto:
    """(1, 3, 8, 8) -> (1, 4): 3x3 to 16 channels, 1x1 to 24, depthwise, 1x1 to 16 and added to the 3x3's output."""
    b = Builder()
    stem = b.node(
        "Relu", b.node("Conv", "x", b.random(16, 3, 3, 3, scale=0.3), b.random(16), name="stem", pads=[1] * 4)
    )
    x = b.node("Relu", b.node("Conv", stem, b.random(24, 16, 1, 1, scale=0.3), b.random(24), name="expand"))
    x = b.node("Conv", x, b.random(24, 1, 3, 3, scale=0.3), b.random(24), name="depthwise", group=24, pads=[1] * 4)
    x = b.node("Conv", b.node("Relu", x), b.random(16, 24, 1, 1, scale=0.3), b.random(16), name="project")
    x = b.node("Flatten", b.node("GlobalAveragePool", b.node("Add", x, stem)))
    return b.model((1, 3, 8, 8), b.node("Gemm", x, b.random(4, 16, scale=0.3), b.random(4), transB=1, name="head"))


@pytest.fixture(scope="module")
def model() -> Model:
    return imported(_network())


def _kept(program: Program) -> dict[str, tuple[int, ...]]:
    """Activations that live into the backward, by their shape."""
    reads = {program.root(n) for call in program.phase("backward") for n in call.reads}
    return {n: program.buffers[n].shape for n in reads if program.buffers[n].kind is Kind.ACTIVATION}


@pytest.mark.parametrize("errors", ["int8", "int16", "float32"])
def test_first_channels_are_kept_and_the_bits_of_a_mask(model: Model, errors: str) -> None:
    program = training_parts(model, errors, expand=0.25)
    assert _kept(program) == {"stem.y.kept": (1, 4, 8, 8)}
    assert program.buffers["stem.y.mask"].nbytes == 16 * 64 // 8
    whole = training_parts(model, errors, expand=1.0)
    assert _kept(whole) == {"stem.y": (1, 16, 8, 8)}
    assert program.arena_bytes < whole.arena_bytes


def test_the_first_channels_of_a_depthwise_layer_are_those_of_its_outputs(model: Model) -> None:
    half_of_one_input = training_parts(model, depthwise=0.5)  # which is all of it
    assert _kept(half_of_one_input) == {"expand.y": (1, 24, 8, 8)}
    some = training_parts(model, depthwise=Channels(outputs=tuple(range(6))))
    assert _kept(some) == {"expand.y.kept": (1, 6, 8, 8)}


def test_layers_that_read_one_tensor_share_what_is_kept() -> None:
    b = Builder()
    x = b.node("Relu", b.node("Conv", "x", b.random(8, 3, 1, 1), name="stem"))
    y, z = (b.node("Conv", x, b.random(9, 8, 1, 1), name=name) for name in ("wide", "other"))
    y = b.node("Flatten", b.node("GlobalAveragePool", b.node("Add", y, z)))
    graph = b.model((1, 3, 4, 4), b.node("Gemm", y, b.random(4, 9), transB=1, name="head"))
    scheme = {"weight": {"wide": 0.25, "other": 0.5}}
    program = compile_model(imported(graph), Scheme.model_validate(scheme)).program
    assert _kept(program) == {"stem.y.kept": (1, 4, 4, 4)}
    scattered = {"weight": {"wide": 0.25, "other": {"inputs": [7]}}}
    program = compile_model(imported(graph), Scheme.model_validate(scattered)).program
    assert _kept(program) == {"stem.y": (1, 8, 4, 4)}


def test_channels_are_those_of_the_layer_that_reads_them() -> None:
    """The 64 outputs of a Gemm are four channels of 4x4 to the convolution behind it."""
    b = Builder()
    x = b.node("Flatten", b.node("GlobalAveragePool", b.node("Conv", "x", b.random(8, 3, 1, 1), name="stem")))
    x = b.node("Relu", b.node("Gemm", x, b.random(64, 8, scale=0.3), b.random(64), transB=1, name="wide"))
    x = b.node("Conv", b.node("Reshape", x, b.const([1, 4, 4, 4], "i8")), b.random(8, 4, 1, 1), name="conv")
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    graph = b.model((1, 3, 4, 4), b.node("Gemm", x, b.random(4, 8), transB=1, name="head"))
    scheme = Scheme.model_validate({"weight": {"conv": 0.5}})
    assert _kept(compile_model(imported(graph), scheme).program) == {"wide.y.kept": (1, 2, 4, 4)}
