"""The gradient that one emitted training step follows, against finite differences of the straight-through network.

Whoever only sees the state before and after a step can read the gradient from it: the change of an integer parameter is
-lr * gradient / scale^2, rounded. A ladder of learning rates finds, for every element, one at which the change is large
and saturates nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from gradient_check import straight_through
from graphs import imported, residual_2d, watch
from host_model import HostModel
from mcugrad.graph import Model, Parameter
from mcugrad.pipeline import compile_model
from mcugrad.scheme import Bias, Channels, ErrorDtype, Scheme
from straight_through import Dual, cross_entropy, differences, mse

Array = npt.NDArray[Any]

HEAD_RATE = 0.5  # NUMERICS.md
PLACES = 60
STEPS = {"int8": 0.01, "int32": 1.0, "float32": 1e-4}  # of the finite differences, by the parameter's type
LADDER = [2.0**k for k in range(-44, 18)]
SEEDS = 8
ROOM = 96  # a weight beyond it saturates before its change is large enough to be read
LEAST_COSINE = {"float32": 0.9999, "int16": 0.9999, "int8": 0.99}
GRAPHS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "watch": (watch, "cross_entropy"),
    "residual": (residual_2d, "cross_entropy"),
    "regression": (lambda: residual_2d(seed=1, outputs=3), "mse"),
}


@pytest.fixture(scope="module", params=GRAPHS)
def case(request: pytest.FixtureRequest) -> tuple[Model, str, Array, Array, dict[str, tuple[Array, Array]]]:
    """Model, loss, sample, target and the true gradient of every parameter: flat places, values there."""
    build, loss = GRAPHS[request.param]
    model = imported(build(), request.param)
    (x,) = _samples(model, 1, seed=4)
    target = np.array([1], np.int32) if loss == "cross_entropy" else np.full(model.output_shape, 0.3, np.float32)
    return model, loss, x, target, {p.name: _true_gradient(model, loss, x, target, p) for p in model.parameters}


def _samples(model: Model, n: int, seed: int) -> Array:
    values = np.random.default_rng(seed).normal(model.input_grid.zero_point, 50, (n, *model.input_shape))
    return np.clip(values, -128, 127).astype(np.int8)


def _true_gradient(
    model: Model, loss: str, x: Array, target: Array, parameter: Parameter, places: int = PLACES
) -> tuple[Array, Array]:
    main = model.module["main"]
    points = {p.name: Dual.fixed(p.value) for p in model.parameters} | {main.params[0].name: Dual.fixed(x)}

    def moved_loss(moved: Array) -> float:
        logits = straight_through(main, {**points, parameter.name: Dual(parameter.value, moved)}).v
        return cross_entropy(logits, int(target[0])) if loss == "cross_entropy" else mse(logits, target)

    value = parameter.value
    some = np.random.default_rng(value.size).permutation(value.size)[:places]
    return some, differences(moved_loss, value, some, STEPS[str(value.dtype)])


@pytest.mark.parametrize(("errors", "warmup"), [("float32", 0), ("int16", 0), ("int8", 0), ("int16", 20), ("int8", 20)])
def test_a_step_follows_the_gradient(
    case: tuple[Model, str, Array, Array, dict[str, tuple[Array, Array]]],
    errors: ErrorDtype,
    warmup: int,
    tmp_path: Path,
) -> None:
    """`warmup`: other samples before; with none, every error's scale is measured, later it is predicted."""
    model, loss, x, target, true = case
    weights: dict[str, float | Channels] = {p.layer: 1.0 for p in model.parameters if not p.is_float}
    scheme = Scheme(errors=errors, bias=Bias(last=99), weight=weights)
    compiled = compile_model(model, scheme, loss)
    assert len(compiled.selection.names) == len(model.parameters)
    host = HostModel(compiled, tmp_path)
    found = _followed_gradients(host, x, target, warmup)
    cosines = {}
    for name, (places, wanted) in true.items():
        seen = np.isfinite(found[name].flat[places])
        assert seen.mean() > 0.5, f"{name}: most elements saturate"
        cosines[name] = _cosine(found[name].flat[places][seen], wanted[seen])
    assert min(cosines.values()) >= LEAST_COSINE[errors], cosines


def test_a_step_follows_the_gradient_of_the_listed_channels(tmp_path: Path) -> None:
    """They are the first ones in the emitted network; the gradient is that of the network as it was imported."""
    model, lists = imported(residual_2d()), {"point": ((4, 1), (9, 2, 14)), "last": ((7, 0, 11), (5, 1))}
    (x,), target = _samples(model, 1, seed=4), np.array([1], np.int32)
    weights: dict[str, float | Channels] = {p.layer: 1.0 for p in model.parameters if not p.is_float}
    weights |= {layer: Channels(outputs=outputs, inputs=inputs) for layer, (outputs, inputs) in lists.items()}
    compiled = compile_model(model, Scheme(errors="float32", bias=Bias(last=99), weight=weights))
    found = _followed_gradients(HostModel(compiled, tmp_path), x, target, 0)
    for layer, channels in lists.items():
        parameter = compiled.model.parameter(f"{layer}.weight")
        gradient = found[parameter.name]
        for axis, order in parameter.order.items():
            gradient = gradient.take(np.argsort(order), axis)
        places, wanted = _true_gradient(model, "cross_entropy", x, target, model.parameter(parameter.name), places=200)
        trained = np.zeros(gradient.shape, bool)
        trained[np.ix_(*channels)] = True
        use = trained.flat[places] & np.isfinite(gradient.flat[places])
        assert use.sum() >= 5
        assert _cosine(gradient.flat[places][use], wanted[use]) >= LEAST_COSINE["float32"]
        still = ~trained & np.isfinite(gradient)
        assert still.any()
        assert not gradient[still].any()


def _followed_gradients(host: HostModel, x: Array, target: Array, warmup: int) -> dict[str, Array]:
    """The gradient by every parameter as the steps show it; NaN where none can be read."""
    parameters = host.model.parameters
    host.init()
    host.plan(0.0, 0)  # nothing moves, but errors meet their scales
    for other in _samples(host.model, warmup, seed=8):
        host.train_step(other, target)
    start = host.save()
    found = {p.name: np.full(p.value.shape, np.nan) for p in parameters}
    for rate in LADDER:
        after: dict[str, list[Array]] = {p.name: [] for p in parameters}
        for seed in range(SEEDS):
            host.restore(start)
            host.plan(rate, seed)
            assert np.isfinite(host.train_step(x, target))
            for name, values in host.state().items():
                if name in after:
                    after[name].append(values.astype(np.float64))
        for p in parameters:
            ends = np.stack(after[p.name])
            change = ends.mean(axis=0) - p.value
            if p.is_float:
                if rate == 1.0:
                    found[p.name] = -change / (rate * HEAD_RATE)
                continue
            free = np.abs(change) < 2**24
            if p.value.dtype == np.int8:
                free = (np.abs(ends).max(axis=0) < 127) & (np.abs(p.value.astype(np.int16)) <= ROOM)
            scale = p.scale.astype(np.float64).reshape(-1, *[1] * (p.value.ndim - 1))
            found[p.name] = np.where(free, -change * scale**2 / rate, found[p.name])
    return found


def _cosine(a: Array, b: Array) -> float:
    if not a.any() and not b.any():
        return 1.0
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))
