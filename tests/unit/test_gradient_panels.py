"""Gradients of pointwise convolutions multiply panels of the error, in scratch that the arena has anyway."""

from __future__ import annotations

from dataclasses import replace

import onnx

from frontend_graphs import Builder
from graphs import imported, residual_2d
from mcugrad.pipeline import compile_model
from mcugrad.plan.gradients import DGRAD, DGRAD_BY_PANELS, UPDATES, use_panels_backward
from mcugrad.plan.place import place
from mcugrad.program import Program, Ref, Struct, Value

UPDATE = "mg_conv2d_update_weight_s8"


def _bottleneck() -> onnx.ModelProto:
    """(1, 3, 6, 6) -> (1, 4): 3x3, two pointwise convolutions, the second from 7 to 12 channels."""
    b = Builder()
    x = b.node("Conv", "x", b.random(9, 3, 3, 3, scale=0.3), name="stem", pads=[1, 1, 1, 1])
    x = b.node("Relu", b.node("Conv", x, b.random(7, 9, 1, 1, scale=0.3), name="narrow"))
    x = b.node("Relu", b.node("Conv", x, b.random(12, 7, 1, 1, scale=0.3), name="expand"))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model((1, 3, 6, 6), b.node("Gemm", x, b.random(4, 12, scale=0.3), b.random(4), transB=1, name="head"))


def _calls(program: Program, kernel: str) -> dict[str, tuple[object, ...]]:
    return {c.layer: c.args for c in program.calls if c.kernel == kernel}


def _without(program: Program) -> Program:
    """The program as it was before the pass."""
    general = {DGRAD_BY_PANELS: DGRAD, **{panels: window for window, panels in UPDATES.items()}}
    calls = tuple(
        replace(c, kernel=general[c.kernel], args=(*c.args[:-3], c.args[-1]), writes=c.writes[:1])
        if c.kernel in general
        else c
        for c in program.calls
    )
    return replace(program, calls=calls)


def test_pointwise_gradients_multiply_panels_and_no_others() -> None:
    program = compile_model(imported(_bottleneck()), "all").program
    assert set(_calls(program, DGRAD_BY_PANELS)) == {"narrow", "expand"}
    assert set(_calls(program, UPDATES[UPDATE])) == {"narrow", "expand"}
    assert set(_calls(program, UPDATE)) == {"stem"}
    assert not _calls(program, DGRAD)
    padded = compile_model(imported(residual_2d()), "all").program
    assert not _calls(padded, DGRAD_BY_PANELS)
    assert {"point", "wide", "grouped", "dilated", "last"} <= set(_calls(padded, DGRAD))


def test_scratch_takes_what_the_busiest_call_leaves_and_at_that_one_as_little_as_can_be() -> None:
    program = compile_model(imported(_bottleneck()), "all").program
    assert _dgrad_panels(program) == {"narrow": (5, (4 * 5 + 2) * 8), "expand": (1, (4 + 2) * 12)}
    one_panel = 2 * (4 + 2) * 36  # bytes, of four input channels of `expand`
    assert program.arena_bytes <= place(_without(program)).arena_bytes + one_panel


def test_scratch_takes_what_the_arena_may_have_for_speed() -> None:
    program = compile_model(imported(_bottleneck()), "all", arena=4096).program
    assert _dgrad_panels(program) == {"narrow": (9, (4 * 9 + 2) * 8), "expand": (9, (4 * 9 + 2) * 12)}
    assert program.arena_bytes <= 4096


def _dgrad_panels(program: Program) -> dict[str, tuple[object, int]]:
    """Of gradients by the input, how many panels at once and the elements of their scratch."""
    found: dict[str, tuple[object, int]] = {}
    for layer, args in _calls(program, DGRAD_BY_PANELS).items():
        panels, scratch = args[3:5]
        assert isinstance(panels, Value)
        assert isinstance(scratch, Ref)
        found[layer] = panels.value, program.buffers[scratch.buffer].elements
    return found


def test_a_program_with_panels_has_no_more_to_give() -> None:
    program = compile_model(imported(_bottleneck()), "all").program
    assert use_panels_backward(program) == program


def test_frozen_weights_of_pointwise_layers_lie_in_pairs() -> None:
    program = compile_model(imported(_bottleneck()), "biases").program
    assert _input_channels_in_state(program) == {"narrow": 0, "expand": 0}
    assert program.buffers["expand.weight"].in_pairs
    trained = compile_model(imported(_bottleneck()), "all").program
    assert _input_channels_in_state(trained) == {"narrow": 9, "expand": 7}


def _input_channels_in_state(program: Program) -> dict[str, object]:
    """Of the weights that gradients by panels read."""
    weights = {layer: args[2] for layer, args in _calls(program, DGRAD_BY_PANELS).items()}
    return {layer: dict(w.fields)["n"] for layer, w in weights.items() if isinstance(w, Struct)}
