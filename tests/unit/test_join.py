"""The error by a pointwise convolution's input takes the place of that input, where the arena needs it."""

from __future__ import annotations

from typing import Any

import pytest

from graphs import imported, separable
from mcugrad.emit.manifest import macs
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model
from mcugrad.plan import sram_and_speed
from mcugrad.plan.gradients import JOINED
from mcugrad.program import Program
from mcugrad.scheme import Scheme

BYTES = 32 * 8 * 8  # of each tensor between two layers


@pytest.fixture(scope="module")
def model() -> Model:
    return imported(separable())


SCHEME = {"weight": {"first": 1.0, "depthwise": 1.0, "last": 1.0}}


def _joined(program: Program) -> list[str]:
    return [c.layer for c in program.calls if c.kernel == JOINED]


def _plan(model: Model, arena: int = 0, **scheme: Any) -> Program:
    return compile_model(model, Scheme.model_validate({**SCHEME, **scheme}), arena=arena).program


def test_the_busiest_layer_is_joined_and_others_are_not(model: Model) -> None:
    """At `last` the inputs of three layers, its error and the error by its input are alive, if they are apart."""
    program = _plan(model)
    assert _joined(program) == ["last"]
    assert program.root("depthwise.e") == program.root("depthwise.y")
    apart = _plan(model, arena=2**16)
    assert _joined(apart) == []
    assert apart.arena_bytes >= 5 * BYTES
    assert program.arena_bytes < apart.arena_bytes - BYTES // 2
    assert macs(program) == macs(apart)


def test_bytes_are_bought_with_instructions_that_the_frontier_names(model: Model) -> None:
    step = compile_model(model, Scheme.model_validate(SCHEME)).step
    (least, more), *_, (most, none) = sram_and_speed(model, step)
    assert least < most
    assert more > none == 0
    assert _joined(_plan(model, arena=least)) == ["last"]
    assert _joined(_plan(model, arena=most)) == []


@pytest.mark.parametrize(
    "scheme",
    [
        {"errors": "int16"},
        {"errors": "float32"},
        {"rounding": "residual"},
        {"accumulate": 4},
        {"weight": {"first": 1.0, "depthwise": 1.0, "last": 0.5}},
    ],
    ids=str,
)
def test_only_whole_weights_by_int8_errors_and_stochastic_rounding_are(model: Model, scheme: dict[str, Any]) -> None:
    assert "last" not in _joined(_plan(model, **scheme))
