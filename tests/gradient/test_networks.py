"""The head, both losses, and sums of adjoints: tensors that are used more than once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from gradient_check import Build, Emit, check_gradients, check_loss_gradients
from mcugrad import ops

Array = npt.NDArray[Any]
few = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)
FULL = {"y_min": -128, "y_max": 127, "y_scale": 1.0}
WINDOW = {"kernel": [3, 3], "stride": [1, 1], "dilation": [1, 1], "pads": [1, 1, 1, 1], "count_pad": 0}


# ---- float32 head and losses -----------------------------------------------------------------------------------------


@few
@given(st.integers(1, 20), st.integers(2, 9), st.sampled_from([0.004, 0.05]), st.integers(-128, 127), st.data(), seeds)
def test_head_and_cross_entropy(n: int, classes: int, scale: float, zero: int, data: st.DataObject, seed: int) -> None:
    label = np.array([data.draw(st.integers(0, classes - 1), "label")], np.int32)
    check_loss_gradients(_head_on(n, scale, zero), "cross_entropy", label, _values(n, classes, seed), seed)


@few
@given(st.integers(1, 20), st.integers(1, 9), st.sampled_from([0.004, 0.05]), st.integers(-128, 127), seeds)
def test_head_and_mean_squared_error(n: int, outputs: int, scale: float, zero: int, seed: int) -> None:
    target = np.random.default_rng(seed).standard_normal((1, outputs)).astype(np.float32)
    check_loss_gradients(_head_on(n, scale, zero), "mse", target, _values(n, outputs, seed), seed)


@few
@given(st.integers(1, 20), st.integers(1, 9), st.integers(-128, 127), st.sampled_from(["cross_entropy", "mse"]), seeds)
def test_int8_head(n: int, outputs: int, zero: int, loss: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = relax.const(rng.uniform(1e-5, 1e-4, outputs).astype(np.float32))
    x, w = rng.integers(-128, 128, (1, n, 1, 1)), rng.integers(-127, 128, (outputs, n, 1, 1))
    b = rng.integers(-500, 500, outputs).astype(np.int32)
    target: Array = np.array([seed % outputs], np.int32)
    if loss == "mse":
        target = rng.standard_normal((1, outputs)).astype(np.float32)

    def build(emit: Emit, v: Sequence[relax.Var]) -> relax.Var:
        return emit(ops.dense_s8(*v, scale, x_zero=zero, layer="head"))

    check_loss_gradients(build, loss, target, [x.astype(np.int8), w.astype(np.int8), b], seed)


def _values(n: int, outputs: int, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    w, b = rng.normal(0, 0.4, (outputs, n)).astype(np.float32), rng.normal(0, 0.4, outputs).astype(np.float32)
    return [rng.integers(-128, 128, (1, n, 1, 1)).astype(np.int8), w, b]


def _head_on(n: int, scale: float, zero: int) -> Build:
    def build(emit: Emit, v: Sequence[relax.Var]) -> relax.Var:
        features = emit(ops.dequantize(v[0], x_scale=scale, x_zero=zero, layer="head"))
        return emit(ops.dense(emit(relax.op.reshape(features, (1, n))), v[1], v[2], layer="head"))

    return build


# ---- sums of adjoints ------------------------------------------------------------------------------------------------


class _Net:
    """Emits operators on (1, 4, 5, 6) tensors whose grids saturate now and then."""

    def __init__(self, emit: Emit, rng: np.random.Generator) -> None:
        self.emit, self.rng = emit, rng

    def grid(self, narrow: bool = True) -> dict[str, Any]:
        zero = int(self.rng.integers(-40, 40))
        relu = {"y_min": zero} if narrow and self.rng.random() < 0.4 else {}
        return {**FULL, **relu, "y_zero": zero, "layer": "test"}

    def conv(self, x: relax.Var, w: relax.Var, b: relax.Var) -> relax.Var:
        scale = relax.const(self.rng.uniform(2e-4, 8e-4, 4).astype(np.float32))
        window = {"stride": [1, 1], "dilation": [1, 1], "pads": [1, 1, 1, 1], "groups": 2}
        return self.emit(ops.conv2d(x, w, b, scale, x_zero=3, **window, **self.grid()))

    def add(self, a: relax.Var, b: relax.Var) -> relax.Var:
        k = {"a_scale": 0.8, "b_scale": 1.1, "a_zero": -4, "b_zero": 9}
        return self.emit(ops.add(a, b, **k, **self.grid()))

    def leaky(self, x: relax.Var) -> relax.Var:
        return self.emit(ops.requantize(x, scale=1.2, alpha=0.3, x_zero=-2, **self.grid(False)))

    def peak(self, x: relax.Var) -> relax.Var:
        return self.emit(ops.max_pool2d(x, **WINDOW, out_size=[5, 6], x_zero=0, y_zero=0, layer="test", **FULL))

    def join(self, *x: relax.Var) -> relax.Var:
        own = {"scales": [0.9] * len(x), "zeros": [1] * len(x)}
        joined = self.emit(ops.concat(*x, axis=3, **own, **self.grid()))
        window = {**WINDOW, "pads": [0, 0, 0, 0], "kernel": [1, len(x)], "stride": [1, len(x)], "out_size": [5, 6]}
        return self.emit(ops.avg_pool2d(joined, **window, scale=1.4, x_zero=2, **self.grid()))

    def turned(self, x: relax.Var) -> relax.Var:
        there = self.emit(ops.permute(x, axes=[0, 1, 3, 2], layer="test", y_scale=1.0, y_zero=0))
        return self.emit(relax.op.reshape(there, (1, 4, 5, 6)))


SHAPES = {
    "x + x": lambda net, t, w, b: net.add(t, t),
    "conv(x) + x": lambda net, t, w, b: net.add(net.conv(t, w, b), t),
    "the weight twice": lambda net, t, w, b: net.conv(net.conv(t, w, b), w, b),
    "x three times": lambda net, t, w, b: net.add(net.add(net.conv(t, w, b), net.peak(t)), net.leaky(t)),
    "a sum of sums": lambda net, t, w, b: net.add(net.add(t, net.leaky(t)), net.add(net.peak(t), t)),
    "concat of x and what was made of it": lambda net, t, w, b: net.join(t, net.conv(t, w, b), t),
    "views": lambda net, t, w, b: net.add(net.turned(t), net.conv(t, w, b)),
    "two blocks": lambda net, t, w, b: (lambda u: net.add(net.conv(u, w, b), u))(net.add(net.leaky(t), net.peak(t))),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_adjoints_add_up(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-90, 91, (1, 4, 5, 6)).astype(np.int8), rng.integers(-100, 101, (4, 2, 3, 3)).astype(np.int8)
    b = rng.integers(-3000, 3000, 4).astype(np.int32)

    def build(emit: Emit, v: Sequence[relax.Var]) -> relax.Var:
        net = _Net(emit, np.random.default_rng(seed))
        middle = net.leaky(v[0])
        found: relax.Var = SHAPES[name](net, middle, v[1], v[2])
        return found

    check_gradients(build, [x, w, b], seed)
