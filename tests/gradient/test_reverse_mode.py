"""The float64 reverse mode, by which the published networks are judged, against finite differences on small graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from frontend_graphs import networks
from gradient_check import straight_through
from graphs import imported, residual_2d, samples, watch
from mcugrad.frontend.importer import import_model
from mcugrad.frontend.normalise import prepare
from mcugrad.graph import Model
from quantiser import Options, quantized
from reverse_mode import gradients
from straight_through import OPERATORS, Dual, cross_entropy, differences, mse

Array = npt.NDArray[Any]
PLACES = 12  # elements of a tensor that are differenced
STEPS = {"int8": 0.01, "int32": 1.0, "float32": 1e-4}
CLOSE = 2e-5  # of a tensor's largest gradient


def _asymmetric() -> Model:
    """Weights with a zero point for each channel."""
    graph = residual_2d()
    made = quantized(graph, samples(graph), Options("QOperator", "QUInt8", False, True, "QUInt8", True))
    return import_model(prepare(made), "net", float_head=True)


GRAPHS: dict[str, Callable[[], Model]] = {
    "watch": lambda: imported(watch()),
    "residual": lambda: imported(residual_2d()),
    "int8 head": lambda: imported(residual_2d(seed=2), float_head=False),
    "asymmetric weights": _asymmetric,
}


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_gradients_are_those_of_finite_differences(graph: str, loss: str) -> None:
    _check(GRAPHS[graph](), loss, seed=3)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(networks(), st.sampled_from(["cross_entropy", "mse"]), st.booleans(), st.integers(0, 2**31))
def test_random_networks(net: onnx.ModelProto, loss: str, float_head: bool, seed: int) -> None:
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in net.graph.initializer}
    assume(all(constants[n.input[1]].min() >= 0 for n in net.graph.node if n.op_type == "Pad"))
    _check(imported(net, float_head=float_head), loss, seed)


def test_every_operator_has_both_meanings() -> None:
    from reverse_mode import OPERATORS as REVERSE

    assert set(REVERSE) == set(OPERATORS)


def _check(model: Model, loss: str, seed: int) -> None:
    """Every parameter of `model` at random places, for one random sample that saturates here and there."""
    rng, main = np.random.default_rng(seed), model.module["main"]
    x = np.clip(rng.normal(model.input_grid.zero_point, 60, model.input_shape), -128, 127).astype(np.int8)
    target: Array = np.array([rng.integers(np.prod(model.output_shape))], np.int32)
    if loss == "mse":
        target = rng.normal(0, 1, model.output_shape).astype(np.float32)
    point = {p.name: p.value for p in model.parameters} | {main.params[0].name: x}
    fixed = {name: Dual.fixed(value) for name, value in point.items()}

    def moved_loss(name: str, moved: Array) -> float:
        logits = straight_through(main, {**fixed, name: Dual(point[name], moved)}).v
        return cross_entropy(logits, int(target[0])) if loss == "cross_entropy" else mse(logits, target)

    found_loss, found = gradients(main, point, [p.name for p in model.parameters], target)
    first = model.parameters[0]
    assert found_loss == pytest.approx(moved_loss(first.name, first.value.astype(np.float64)), rel=1e-9, abs=1e-12)
    for p in model.parameters:
        places = rng.permutation(p.value.size)[:PLACES]
        true = differences(partial(moved_loss, p.name), p.value, places, STEPS[str(p.value.dtype)])
        assert found[p.name].shape == p.value.shape
        largest = max(np.abs(found[p.name]).max(), 1e-7)
        np.testing.assert_allclose(found[p.name].flat[places], true, rtol=0, atol=CLOSE * largest, err_msg=p.name)
