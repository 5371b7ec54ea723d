"""Error tensors: the common epilogue, delayed scales and the light gradients."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS, Pool, errors, int8s, pools
from kernel_library import ERROR_CODES, ERROR_TYPES, Array, Box, Kernels, Permute, Store, address

TYPES = st.sampled_from(sorted(ERROR_TYPES))
Q_MAX = {"s8": 127.0, "s16": 32767.0}


def stored(kernels: Kernels, shape: tuple[int, ...], name: str, *args: Any) -> Array:
    """The float32 result of a gradient kernel."""
    out = np.full(shape, np.nan, F32)
    kernels(name, *args, Store(out=address(out), base_scale=1.0))
    return out


@given(TYPES, TYPES, TYPES, st.integers(1, 5), st.integers(1, 40), SEEDS)
@FEW
def test_epilogue(kernels: Kernels, e_type: str, out_type: str, skip_type: str, c: int, plane: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    e, skip = errors(rng, e_type, c, plane), errors(rng, skip_type, c, plane)
    mult, mask = rng.uniform(0.1, 2.0, c).astype(F32), int8s(rng, c, plane)
    out = np.zeros((c, plane), ERROR_TYPES[out_type])
    use = rng.random(3) < 0.7
    store = Store(
        out=address(out),
        skip=address(skip) if use[0] else None,
        mult=address(mult) if use[1] else None,
        mask=address(mask) if use[2] else None,
        base_scale=F32(rng.uniform(0.01, 3)),
        skip_scale=F32(rng.uniform(0.01, 3)),
        inv_scale=F32(2.0 ** rng.integers(-12, 3)),
        absmax=F32(rng.choice([0.0, 1e6])),
        out_type=ERROR_CODES[out_type],
        skip_type=ERROR_CODES[skip_type],
        mask_min=-128,
        mask_max=int(rng.choice([127, 30])),
    )
    absmax = F32(store.absmax)
    kernels("error_map", e, ERROR_CODES[e_type], c, plane, store)
    v = e.astype(F32) * F32(store.base_scale)
    v = v + skip.astype(F32) * F32(store.skip_scale) if use[0] else v
    v = v * mult[:, None] if use[1] else v
    v = np.where((mask > store.mask_min) & (mask < store.mask_max), v, F32(0)) if use[2] else v
    assert store.absmax == max(absmax, np.abs(v).max())
    if out_type == "f32":
        np.testing.assert_array_equal(out, v)
        return
    limit = F32(Q_MAX[out_type])
    scaled = v * F32(store.inv_scale)
    np.testing.assert_array_equal(out, np.rint(np.clip(scaled, -limit, limit)))
    assert store.clipped == (np.abs(scaled) > limit).sum()


def test_one_element(kernels: Kernels) -> None:
    out, mult = np.array([9, 9, 9], np.int8), np.array([1.0, 3.0], F32)
    store = Store(out=address(out), mult=address(mult), base_scale=0.5, inv_scale=1.0, out_type=1)
    kernels("store", store, 1, 2, 5.0)
    assert out.tolist() == [9, 9, 8]  # 7.5 to even
    assert store.absmax == 7.5


def test_the_largest_quantum_is_not_clipped(kernels: Kernels) -> None:
    e, out = np.array([127, -127, 128, -129], np.int16), np.zeros(4, np.int8)
    store = Store(out=address(out), base_scale=1.0, inv_scale=1.0, out_type=1)
    kernels("error_map", e, ERROR_CODES["s16"], 1, 4, store)
    assert out.tolist() == [127, -127, 127, -127]
    assert store.clipped == 2


@given(st.sampled_from(["s8", "s16"]), SEEDS)
@FEW
def test_narrowing_in_place(kernels: Kernels, out_type: str, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(50).astype(F32)
    memory, ratio = values.copy(), ctypes.c_float(0.0)
    store = Store(out=address(memory), base_scale=1.0, out_type=ERROR_CODES[out_type])
    passes = _scaled(kernels, store, ratio, 1.0, lambda: kernels("error_map", memory, 0, 1, 50, store))
    assert passes == 2
    narrow = memory.view(ERROR_TYPES[out_type])[:50]
    np.testing.assert_array_equal(narrow, np.rint(values / F32(store.scale)))
    assert ratio.value == np.abs(values).max()


def _scaled(kernels: Kernels, store: Store, ratio: ctypes.c_float, g: float, kernel: Any) -> int:
    """The loop of mg_backward.h; returns how often its body ran."""
    passes = 0
    while True:
        kernels("scale_predict", store, ratio.value, g)
        kernel()
        passes += 1
        if not kernels("scale_observe", store, ratio, g):
            return passes


def test_measuring_leaves_the_summand_alone(kernels: Kernels) -> None:
    e, skip = np.array([3, -4, 5], np.int8), np.array([10, 20, -30], np.int8)
    ratio = ctypes.c_float(0.0)
    store = Store(out=address(skip), skip=address(skip), base_scale=1.0, skip_scale=1.0, out_type=1, skip_type=1)
    passes = _scaled(kernels, store, ratio, 1.0, lambda: kernels("error_map", e, 1, 1, 3, store))
    assert (passes, store.scale, ratio.value) == (2, 0.25, 25.0)
    np.testing.assert_array_equal(skip, [52, 64, -100])


def test_zero_errors_stay_uncalibrated(kernels: Kernels) -> None:
    e, out, ratio = np.zeros(3, np.int8), np.array([1, 2, 3], np.int8), ctypes.c_float(0.0)
    store = Store(out=address(out), base_scale=1.0, out_type=1)
    assert _scaled(kernels, store, ratio, 1.0, lambda: kernels("error_map", e, 1, 1, 3, store)) == 1
    assert (ratio.value, store.scale) == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["s8", "s16"])
def test_the_scale_follows_the_largest_error(kernels: Kernels, kind: str) -> None:
    store, ratio, g = Store(out_type=ERROR_CODES[kind]), ctypes.c_float(0.5), F32(3.0)
    expected = F32(0.5)
    for largest in (0.1, 2.0, 0.0, 9.0, 1e-3):
        kernels("scale_predict", store, ratio.value, g)
        exact = expected * g / F32(Q_MAX[kind])
        assert store.scale * store.inv_scale == 1.0
        assert exact * F32(0.999999) <= store.scale < 2.000001 * exact
        assert np.frexp(store.scale)[0] == 0.5
        store.absmax = largest
        assert not kernels("scale_observe", store, ratio, g)
        expected = max(F32(0.99) * expected, F32(largest) / g)
        assert ratio.value == expected


def test_pow2ceil(kernels: Kernels) -> None:
    for power in (-99, -1, 0, 7):
        v = F32(2.0**power)
        assert kernels("pow2ceil_f32", v) == v
        assert kernels("pow2ceil_f32", np.nextafter(v, F32(1e30))) == 2 * v
        assert kernels("pow2ceil_f32", np.nextafter(v, F32(0))) == v
    assert kernels("pow2ceil_f32", 0.0) == kernels("pow2ceil_f32", F32(1e-38)) == 2.0**-100


@given(TYPES, st.integers(1, 4), st.integers(1, 30), st.integers(-128, 127), SEEDS)
@FEW
def test_leaky_relu(kernels: Kernels, kind: str, channels: int, plane: int, zero: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    e, x, alpha = errors(rng, kind, channels, plane), int8s(rng, channels, plane), F32(0.1)
    dx = stored(kernels, e.shape, "leaky_relu_dgrad", e, ERROR_CODES[kind], x, zero, alpha, channels, plane)
    np.testing.assert_array_equal(dx, np.where(x < zero, e.astype(F32) * alpha, e.astype(F32)))


@given(pools(), TYPES, SEEDS)
@FEW
def test_avg_pool(kernels: Kernels, pool: Pool, kind: str, seed: int) -> None:
    e = errors(np.random.default_rng(seed), kind, pool.channels, *pool.out)
    part = e.astype(F32) * (F32(1) / pool.counts())
    expected = pool.scatter(np.repeat(part[:, None], pool.kernel[0] * pool.kernel[1], axis=1))
    for kernel in ("avg_pool2d_dgrad", *(["global_avg_pool2d_dgrad"] if pool.is_global else [])):
        dx = stored(kernels, (pool.channels, *pool.size), kernel, pool.struct(), e, ERROR_CODES[kind])
        np.testing.assert_array_equal(dx, expected)


@given(pools(), TYPES, SEEDS)
@FEW
def test_max_pool(kernels: Kernels, pool: Pool, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    e = errors(rng, kind, pool.channels, *pool.out)
    x = rng.integers(-2, 3, (pool.channels, *pool.size)).astype(np.int8)  # many ties
    dx = stored(kernels, x.shape, "max_pool2d_dgrad", pool.struct(), e, ERROR_CODES[kind], x)
    first = np.argmax(pool.taps(x, -1000), axis=1)
    parts = np.where(np.arange(pool.kernel[0] * pool.kernel[1])[:, None, None] == first[:, None], e[:, None], 0)
    np.testing.assert_array_equal(dx, pool.scatter(parts.astype(F32)))


@given(TYPES, st.tuples(*[st.integers(1, 5)] * 3), st.tuples(*[st.integers(0, 3)] * 6), SEEDS)
@FEW
def test_slice(kernels: Kernels, kind: str, size: tuple[int, ...], pads: tuple[int, ...], seed: int) -> None:
    c, h, w = size
    whole = tuple(size[a] + pads[a] + pads[a + 3] for a in range(3))
    e = errors(np.random.default_rng(seed), kind, *whole)
    inner = e[pads[0] : pads[0] + c, pads[1] : pads[1] + h, pads[2] : pads[2] + w]
    box, mult = Box(c, h, w, whole[1] * whole[2], whole[2], h * w, w), np.arange(1, c + 1, dtype=F32)
    start = ctypes.c_void_p(int(inner.ctypes.data))
    out = np.full(size, np.nan, F32)
    store = Store(out=address(out), mult=address(mult), base_scale=1.0)
    kernels("slice_dgrad", box, start, ERROR_CODES[kind], h * w, store)
    np.testing.assert_array_equal(out, inner.astype(F32) * mult[:, None, None])


def test_slice_of_whole_channels_is_one_stretch(kernels: Kernels) -> None:
    """A Concat operand: one row that crosses channels, each with its own multiplier."""
    e, mult, out = np.arange(100, dtype=np.int16), np.array([1, 10, 100], F32), np.zeros(21, F32)
    store = Store(out=address(out), mult=address(mult), base_scale=1.0)
    kernels("slice_dgrad", Box(1, 1, 21, 100, 0, 21, 0), e, ERROR_CODES["s16"], 7, store)
    np.testing.assert_array_equal(out, np.arange(21) * np.repeat(mult, 7))


@given(TYPES, st.tuples(*[st.integers(1, 4)] * 5), st.permutations(range(5)), SEEDS)
@FEW
def test_permute(kernels: Kernels, kind: str, dims: tuple[int, ...], axes: list[int], seed: int) -> None:
    e = errors(np.random.default_rng(seed), kind, *dims)
    expected = np.ascontiguousarray(e.transpose(axes))
    strides = [e.strides[a] // e.itemsize for a in axes]
    geometry = Permute((ctypes.c_int32 * 5)(*expected.shape), (ctypes.c_int32 * 5)(*strides))
    plane = int(np.prod(expected.shape[2:]))
    mult = np.arange(1, expected.size // plane + 1, dtype=F32)
    out = np.full(expected.shape, np.nan, F32)
    store = Store(out=address(out), mult=address(mult), base_scale=1.0)
    kernels("permute_dgrad", geometry, e, ERROR_CODES[kind], plane, store)
    scaled = expected.astype(F32).reshape(-1, plane) * mult[:, None]
    np.testing.assert_array_equal(out, scaled.reshape(expected.shape))
