"""The float32 kernels: bits of the mirrored definition where one exists, accuracy against float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS
from kernel_library import Array, Kernels

CONSTANT, LINEAR, COSINE = 0, 1, 2


def _each(kernels: Kernels, name: str, values: Array) -> Array:
    return np.array([kernels(name, v) for v in values], F32)


def test_exp(kernels: Kernels) -> None:
    x = np.concatenate([np.linspace(-87, 0, 20011), -np.logspace(-8, 1.9, 5000)]).astype(F32)[1:]
    exact = np.exp(x.astype(np.float64))
    assert np.abs(_each(kernels, "exp_f32", x) / exact - 1).max() < 2.0**-22
    assert kernels("exp_f32", 0.0) == 1.0
    assert [kernels("exp_f32", v) for v in (-87.0, -88.0, -1e30, -np.inf)] == [0.0] * 4
    assert kernels("exp_f32", np.nextafter(F32(-87), F32(0))) > 0


def test_log(kernels: Kernels) -> None:
    x = np.concatenate([np.linspace(0.4, 3.0, 20011), np.logspace(-37.9, 38.4, 5000)]).astype(F32)
    exact = np.log(x.astype(np.float64))
    got = _each(kernels, "log_f32", x)
    assert np.abs(got - exact).max() < 4e-6
    some = np.abs(exact) > 1e-6
    assert np.abs(got[some] / exact[some] - 1).max() < 2.0**-21
    assert kernels("log_f32", 1.0) == 0.0


@given(st.integers(1, 4), st.integers(1, 12), SEEDS)
@FEW
def test_softmax(kernels: Kernels, outer: int, n: int, seed: int) -> None:
    x = (np.random.default_rng(seed).standard_normal((outer, n)) * 10).astype(F32)
    y, log_y = x.copy(), x.copy()
    kernels("softmax_f32", y, outer, n, y)
    kernels("log_softmax_f32", log_y, outer, n, log_y)
    shifted = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    exact = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(y, np.exp(exact), rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(log_y, exact, rtol=1e-6, atol=1e-5)


@given(st.integers(2, 12), SEEDS)
@FEW
def test_cross_entropy(kernels: Kernels, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, label = (rng.standard_normal(n) * 8).astype(F32), int(rng.integers(n))
    loss, d, y = np.zeros(1, F32), np.zeros(n, F32), np.zeros(n, F32)
    kernels("softmax_cross_entropy_f32", x, n, label, loss, d)
    kernels("softmax_f32", x, 1, n, y)
    np.testing.assert_array_equal(d, y - (np.arange(n) == label).astype(F32))
    shifted = x.astype(np.float64) - x.max()
    np.testing.assert_allclose(loss[0], np.log(np.exp(shifted).sum()) - shifted[label], rtol=1e-6, atol=1e-6)


@given(st.integers(1, 30), SEEDS)
@FEW
def test_mse(kernels: Kernels, n: int, seed: int) -> None:
    x, t = np.random.default_rng(seed).standard_normal((2, n)).astype(F32)
    loss, d = np.zeros(1, F32), np.zeros(n, F32)
    kernels("mse_f32", x, t, n, loss, d)
    total = F32(0)
    for v in x - t:
        total = total + v * v
    assert loss[0] == total * (F32(1) / F32(n))
    np.testing.assert_array_equal(d, (x - t) * (F32(2) / F32(n)))
    kernels("mse_f32", x, t, n, loss, x)  # in place of the outputs
    np.testing.assert_array_equal(x, d)


@given(st.integers(1, 23), st.integers(1, 7), st.booleans(), SEEDS)
@FEW
def test_dense(kernels: Kernels, n_in: int, n_out: int, frozen: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, x, b, dy = (rng.standard_normal(s).astype(F32) for s in ((n_out, n_in), n_in, n_out, n_out))
    y, bare, dx, lr = np.zeros(n_out, F32), np.zeros(n_out, F32), np.zeros(n_in, F32), F32(0.01)
    kernels("dense_f32", w, b, x, n_in, n_out, y)
    kernels("dense_f32", w, None, x, n_in, n_out, bare)
    kernels("dense_dgrad_f32", w, dy, n_in, n_out, dx)
    sums, gradient = np.zeros(n_out, F32), np.zeros(n_in, F32)
    for i in range(n_in):
        sums += w[:, i] * x[i]
    for o in range(n_out):
        gradient += w[o] * dy[o]
    np.testing.assert_array_equal(bare, sums)
    np.testing.assert_array_equal(y, sums + b)
    np.testing.assert_array_equal(dx, gradient)
    new_w, new_b = w - (dy[:, None] * x) * lr, b - dy * lr
    kernels("dense_update_f32", x, dy, n_in, n_out, lr, None if frozen else w, b)
    np.testing.assert_array_equal(b, new_b)
    if not frozen:
        np.testing.assert_array_equal(w, new_w)


@given(st.integers(1, 23), st.integers(1, 7), st.booleans(), SEEDS)
@FEW
def test_dense_update_that_accumulates(kernels: Kernels, n_in: int, n_out: int, apply: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, pending = rng.standard_normal((2, n_out, n_in)).astype(F32)
    x, dy, lr = rng.standard_normal(n_in).astype(F32), rng.standard_normal(n_out).astype(F32), F32(0.01)
    total = pending + (dy[:, None] * x) * lr
    new_w, new_pending = (w - total, np.zeros_like(total)) if apply else (w.copy(), total)
    kernels("dense_update_accumulate_f32", x, dy, n_in, n_out, lr, int(apply), pending, w)
    np.testing.assert_array_equal(w, new_w)
    np.testing.assert_array_equal(pending, new_pending)


def test_absmax(kernels: Kernels) -> None:
    x = np.array([0.5, -3.25, 2.0], F32)
    assert kernels("absmax_f32", x, 3) == 3.25
    assert kernels("absmax_f32", np.zeros(3, F32), 3) == F32(1e-30)


@pytest.mark.parametrize("total", [1, 7, 1000, 2**32 - 1])
def test_learning_rate(kernels: Kernels, total: int) -> None:
    base = F32(0.004)
    steps = np.unique(np.linspace(0, total - 1, 200).astype(np.uint64))
    share = steps.astype(F32) / F32(total)
    linear = np.array([kernels("learning_rate", LINEAR, base, int(s), total) for s in steps], F32)
    cosine = np.array([kernels("learning_rate", COSINE, base, int(s), total) for s in steps], F32)
    np.testing.assert_array_equal(linear, base * (F32(1) - share))
    left = F32(1) - share
    np.testing.assert_allclose(cosine, base * np.sin(np.pi / 2 * left.astype(np.float64)) ** 2, rtol=1e-6)
    assert cosine[0] == base
    assert (np.diff(cosine) <= 0).all()


def test_learning_rate_past_the_end(kernels: Kernels) -> None:
    for kind in (LINEAR, COSINE):
        last = kernels("learning_rate", kind, 1.0, 9, 10)
        assert [kernels("learning_rate", kind, 1.0, step, 10) for step in (10, 2**32 - 1)] == [last, last]
        assert kernels("learning_rate", kind, 0.25, 5, 0) == 0.25
    assert kernels("learning_rate", CONSTANT, 0.25, 99, 10) == 0.25
