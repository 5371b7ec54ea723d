"""The int8 forward kernels other than convolution."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS, ZEROS, Pool, int8s, pools, requantized
from kernel_library import Add, Array, Box, Kernels, Permute, Requantize

LIMITS = st.sampled_from([(-128, 127), (-128, 20), (0, 127)])


def _centred(x: Array, zero: int) -> Array:
    return (x.astype(np.int32) - zero).astype(F32)


@given(ZEROS, st.integers(-128, 127), LIMITS, st.integers(1, 50), SEEDS, st.sampled_from(["apart", "a", "b"]))
@FEW
def test_add(
    kernels: Kernels, zeros: tuple[int, int], y_zero: int, limits: tuple[int, int], n: int, seed: int, place: str
) -> None:
    rng = np.random.default_rng(seed)
    a, b, scales = int8s(rng, n), int8s(rng, n), rng.uniform(0.1, 2.0, 2).astype(F32)
    y = {"a": a, "b": b}.get(place, np.zeros(n, np.int8))
    total = _centred(a, zeros[0]) * scales[0] + _centred(b, zeros[1]) * scales[1]
    kernels("add_s8", Add(*scales, *zeros, y_zero, *limits), a, b, n, y)
    np.testing.assert_array_equal(y, requantized(total, F32(1), y_zero, limits))


@given(ZEROS, LIMITS, st.sampled_from([1.0, 0.1, 3.0]), st.tuples(*[st.integers(1, 5)] * 3), SEEDS)
@FEW
def test_requantize(
    kernels: Kernels,
    zeros: tuple[int, int],
    limits: tuple[int, int],
    alpha: float,
    size: tuple[int, int, int],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    c, h, w = size
    x, scale = int8s(rng, c, h, w), F32(rng.uniform(0.1, 2.0))
    y = np.full((c + 1, h + 2, w + 3), 55, np.int8)
    box = Box(c, h, w, h * w, w, (h + 2) * (w + 3), w + 3)
    kernels("requantize_s8", Requantize(scale, alpha, *zeros, *limits), box, x, y)
    value = _centred(x, zeros[0]) * scale
    value = np.where(value < 0, value * F32(alpha), value)
    np.testing.assert_array_equal(y[:c, :h, :w], requantized(value, F32(1), zeros[1], limits))
    y[:c, :h, :w] = 55
    assert (y == 55).all()


def test_fill(kernels: Kernels) -> None:
    y = np.zeros(9, np.int8)
    kernels("fill_s8", y, 7, -5)
    assert y.tolist() == [-5] * 7 + [0, 0]


@given(pools(), LIMITS, SEEDS)
@FEW
def test_max_pool(kernels: Kernels, pool: Pool, limits: tuple[int, int], seed: int) -> None:
    x = int8s(np.random.default_rng(seed), pool.channels, *pool.size)
    y = np.zeros((pool.channels, *pool.out), np.int8)
    kernels("max_pool2d_s8", pool.struct(limits), x, y)
    np.testing.assert_array_equal(y, np.clip(pool.taps(x, -128).max(axis=1), *limits))


@given(pools(), LIMITS, SEEDS)
@FEW
def test_avg_pool(kernels: Kernels, pool: Pool, limits: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, scale = int8s(rng, pool.channels, *pool.size), F32(rng.uniform(0.2, 3.0))
    zero = pool.zeros[0]
    total = (pool.taps(x, zero) - zero).sum(axis=1)
    expected = requantized(total, scale / pool.counts(), pool.zeros[1], limits)
    for kernel in ("avg_pool2d_s8", *(["global_avg_pool2d_s8"] if pool.is_global else [])):
        y = np.zeros((pool.channels, *pool.out), np.int8)
        kernels(kernel, pool.struct(limits), scale, x, y)
        np.testing.assert_array_equal(y, expected)


@given(st.tuples(*[st.integers(1, 4)] * 5), st.permutations(range(5)), SEEDS)
@FEW
def test_permute(kernels: Kernels, dims: tuple[int, ...], axes: list[int], seed: int) -> None:
    x = int8s(np.random.default_rng(seed), *dims)
    expected = np.ascontiguousarray(x.transpose(axes))
    strides = (ctypes.c_int32 * 5)(*[x.strides[a] for a in axes])
    y = np.full(expected.shape, 55, np.int8)
    kernels("permute_s8", Permute((ctypes.c_int32 * 5)(*expected.shape), strides), x, y)
    np.testing.assert_array_equal(y, expected)


def test_dequantize(kernels: Kernels) -> None:
    x, y = np.arange(-128, 128).astype(np.int8), np.zeros(256, F32)
    kernels("dequantize_s8", x, 256, F32(0.1), -7, y)
    np.testing.assert_array_equal(y, (np.arange(-128, 128) + 7).astype(F32) * F32(0.1))
