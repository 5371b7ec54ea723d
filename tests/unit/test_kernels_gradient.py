"""Gradients by the input, and the in-place updates of weights and biases, for the three error types."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS, Conv, centred, convs, errors, int8s
from kernel_layouts import Parts
from kernel_library import ERROR_TYPES, Array, Kernels, Random, Store, Subset, address
from mcugrad.scheme import runs

TYPES = st.sampled_from(sorted(ERROR_TYPES))
GOLDEN = 0x9E3779B9


def mix(x: Array) -> Array:
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return np.asarray(x ^ (x >> 16))


def uniforms(seed: int, step: int, tensor: int, count: int) -> Array:
    """The first `count` random numbers of a tensor, by the definition."""
    start = np.array([(seed + GOLDEN * step) % 2**32], np.uint32)
    key = mix(mix(start) ^ np.uint32(0x85EBCA6B * tensor % 2**32))
    steps = (np.arange(count, dtype=np.uint64) * GOLDEN % 2**32).astype(np.uint32)
    return np.asarray((mix(key + steps) >> 8).astype(F32) * F32(2.0**-24))


def moved(u: Array, gradient: Array, factor: Array) -> Array:
    """floor(clamp(u - gradient * factor)), int64."""
    with np.errstate(over="ignore"):  # infinite steps are clamped, too
        change = np.clip(u - gradient * factor, F32(-1e9), F32(1e9))
    return np.asarray(np.floor(change).astype(np.int64))


@given(convs(), TYPES, SEEDS)
@FEW
def test_dgrad(kernels: Kernels, conv: Conv, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    e, w = errors(rng, kind, conv.out_c, *conv.out), int8s(rng, *conv.weight)
    dx = np.full((conv.in_c, *conv.size), np.nan, F32)
    store = Store(out=address(dx), base_scale=1.0)
    kernels(f"conv2d_dgrad_{kind}", conv.struct(), e, w, store)
    expected = conv.dgrad(e, w)
    np.testing.assert_array_equal(dx, expected)
    assert store.absmax == np.abs(expected).max()


@given(convs(), TYPES, SEEDS)
@FEW
def test_dgrad_of_weights_with_a_zero_point(kernels: Kernels, conv: Conv, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    e, w = errors(rng, kind, conv.out_c, *conv.out), int8s(rng, *conv.weight)
    w_zero = int8s(rng, conv.out_c)
    dx = np.full((conv.in_c, *conv.size), np.nan, F32)
    store = Store(out=address(dx), base_scale=1.0)
    kernels(f"conv2d_asymmetric_dgrad_{kind}", conv.struct(), e, w, w_zero, store)
    np.testing.assert_array_equal(dx, conv.dgrad(e, centred(w, w_zero)))


def test_the_longest_dgrad_of_weights_with_a_zero_point(kernels: Kernels) -> None:
    conv = Conv(1, 1, 65793, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    e, w = np.full((conv.out_c, 1, 1), -128, np.int8), np.full(conv.weight, 127, np.int8)
    dx = np.zeros((1, 1, 1), F32)
    store = Store(out=address(dx), base_scale=1.0)
    kernels("conv2d_asymmetric_dgrad_s8", conv.struct(), e, w, np.full(conv.out_c, -128, np.int8), store)
    assert dx.item() == F32(-65793 * 128 * 255)


@given(convs(), TYPES, SEEDS, st.booleans())
@FEW
def test_dgrad_visits_every_element_once(kernels: Kernels, conv: Conv, kind: str, seed: int, asymmetric: bool) -> None:
    """The result is added to what it replaces, so an element stored twice would show."""
    rng = np.random.default_rng(seed)
    e, w = errors(rng, kind, conv.out_c, *conv.out), int8s(rng, *conv.weight)
    skip = rng.integers(-50, 51, (conv.in_c, *conv.size)).astype(np.int8)
    w_zero = int8s(rng, conv.out_c) if asymmetric else np.zeros(conv.out_c, np.int8)
    total, expected = skip.copy(), conv.dgrad(e, centred(w, w_zero))
    base = F32(60.0 / max(float(np.abs(expected).max()), 1.0))
    pointer = address(total)
    store = Store(out=pointer, skip=pointer, base_scale=base, skip_scale=1.0, inv_scale=1.0, out_type=1, skip_type=1)
    name, more = (f"conv2d_asymmetric_dgrad_{kind}", [w_zero]) if asymmetric else (f"conv2d_dgrad_{kind}", [])
    kernels(name, conv.struct(), e, w, *more, store)
    np.testing.assert_array_equal(total, np.rint(expected * base + skip.astype(F32)))
    assert store.clipped == 0


@dataclass(frozen=True)
class Side:
    """Channels that train on one side of a weight, in the order of their rests, and how mg_subset_t says so."""

    channels: Array
    runs: Array | None
    n: int


def _some(rng: np.random.Generator, total: int, listed: bool) -> Side:
    """Some of `total` channels: the first ones, or runs in any order."""
    n = int(rng.integers(1, total + 1))
    if not listed:
        return Side(np.arange(n), None, n)
    chosen = rng.permutation(np.array(runs(int(c) for c in rng.permutation(total)[:n]), np.uint16))
    return Side(np.concatenate([np.arange(*run) for run in chosen]), chosen, len(chosen))


@dataclass(frozen=True)
class Updated:
    """A convolution, an error and an input, and the weights that train, by either way to name them."""

    conv: Conv
    kind: str
    e: Array
    x: Array
    w: Array
    qas: Array
    rate: F32
    inputs: Side
    outputs: Side
    held: int  # input channels that the kernel is given, all that train among them

    @staticmethod
    def draw(conv: Conv, kind: str, seed: int, listed: bool) -> Updated:
        rng = np.random.default_rng(seed)
        e, x = errors(rng, kind, conv.out_c, *conv.out), int8s(rng, conv.in_c, *conv.size)
        w = int8s(rng, *conv.weight)
        qas = rng.uniform(0.5, 2.0, conv.out_c).astype(F32)
        qas[rng.random(conv.out_c) < 0.2] = 0.0
        rate = F32(10.0 ** rng.uniform(-2, 2) / max(np.abs(conv.wgrad(e, x)).max(), 1e-3))
        inputs, outputs = (_some(rng, n, listed) for n in (conv.group_in, conv.out_c))
        held = int(rng.integers(inputs.channels.max() + 1, conv.group_in + 1))
        return Updated(conv, kind, e, x, w, qas, rate, inputs, outputs, held)

    @property
    def trained(self) -> Array:
        trained = np.zeros(self.w.shape, bool)
        trained[np.ix_(self.outputs.channels, self.inputs.channels)] = True
        trained[self.qas == 0.0] = False
        return trained

    def change(self, u: Array, unit: float = 1.0) -> Array:
        """Of every weight, trained or not, in units of 1/`unit` quantum."""
        return moved(u, self.conv.wgrad(self.e, self.x), (F32(self.rate * F32(unit)) * self.qas)[:, None, None, None])

    def run(self, kernels: Kernels, name: str, w: Array, *rounding: object, unit: float = 1.0) -> int:
        sides = self.inputs, self.outputs
        subset = Subset(*(address(side.runs) for side in sides), *(side.n for side in sides), self.held)
        rate = F32(self.rate * F32(unit))
        operands = self.conv.struct(), self.e, self.x, subset, self.qas, rate
        part = np.ascontiguousarray(w[:, : self.held])
        saturated = int(kernels(f"{name}_{self.kind}", *operands, *rounding, part))
        w[:, : self.held] = part
        return saturated


def rounded(total: Array) -> tuple[Array, Array]:
    """The nearest whole number of quanta to total / 256, halves up, and what is left, in 1/256."""
    whole = np.floor_divide(total + 128, 256)
    return whole, total - 256 * whole


CHANNELS = st.integers(1, 9)


@given(CHANNELS, CHANNELS, st.sampled_from([(1, 4), (2, 2), (5, 5), (3, 7), (8, 8)]), st.integers(1, 16), SEEDS)
@FEW
def test_pointwise_dgrad_by_panels(
    kernels: Kernels, in_c: int, out_c: int, size: tuple[int, int], panels: int, seed: int
) -> None:
    """The result is added to what it replaces, so an element stored twice would show."""
    rng = np.random.default_rng(seed)
    conv = Conv(1, in_c, out_c, size, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    e, w = int8s(rng, out_c, *size), int8s(rng, *conv.weight)
    skip = rng.integers(-50, 51, (in_c, *size)).astype(np.int8)
    even = out_c + out_c % 2
    scratch, total, expected = np.zeros((4 * panels + 2) * even, np.int16), skip.copy(), conv.dgrad(e, w)
    base = F32(60.0 / max(float(np.abs(expected).max()), 1.0))
    pointer = address(total)
    store = Store(out=pointer, skip=pointer, base_scale=base, skip_scale=1.0, inv_scale=1.0, out_type=1, skip_type=1)
    parts = Parts.of(w, rng.choice([*range(0, in_c, 2), in_c]))
    kernels("conv2d_pointwise_dgrad_s8", conv.struct(), e, parts.struct(), panels, scratch, store)
    np.testing.assert_array_equal(total, np.rint(expected * base + skip.astype(F32)))


@given(convs(), TYPES, SEEDS, st.booleans())
@FEW
def test_update_weight(kernels: Kernels, conv: Conv, kind: str, seed: int, listed: bool) -> None:
    case = Updated.draw(conv, kind, seed, listed)
    w, trained = case.w.copy(), case.trained
    change = case.change(uniforms(seed, 3, 5, w.size).reshape(w.shape))
    expected = np.where(trained, np.clip(w + change, -127, 127), w).astype(np.int8)
    saturated = int((np.abs(expected[trained].astype(int)) == 127).sum())
    assert case.run(kernels, "conv2d_update_weight", w, Random(seed, 3, 5)) == saturated
    np.testing.assert_array_equal(w, expected)


@given(convs(), TYPES, SEEDS, st.booleans(), st.sampled_from(["residual", "hold", "apply"]))
@FEW
def test_update_weight_that_keeps_its_rest(
    kernels: Kernels, conv: Conv, kind: str, seed: int, listed: bool, what: str
) -> None:
    """The rest has a place for the trained channels only, in their order."""
    case, rng = Updated.draw(conv, kind, seed, listed), np.random.default_rng(seed + 1)
    w, trained, chosen = case.w.copy(), case.trained, np.ix_(case.outputs.channels, case.inputs.channels)
    info = np.iinfo(np.int8 if what == "residual" else np.int16)
    rest = rng.integers(-128, 128, w[chosen].shape).astype(info.dtype)
    rest[rng.random(rest.shape) < 0.5] = rng.choice([info.min, info.max])
    u = np.full(w.shape, F32(0.5)) if what == "residual" else uniforms(seed, 3, 5, w.size).reshape(w.shape)
    total = rest + case.change(u, 256.0)[chosen]
    move = np.zeros(w.shape, np.int64)
    move[chosen], left = rounded(total)
    if what == "hold":
        move[:], left = 0, np.clip(total, -32767, 32767)
    expected = np.where(trained, np.clip(w + move, -127, 127), w).astype(np.int8)
    expected_rest = np.where(trained[chosen], left, rest)
    saturated = int((np.abs(expected[trained].astype(int)) == 127).sum())
    if what == "residual":
        found = case.run(kernels, "conv2d_update_weight_residual", w, rest, unit=256.0)
    else:
        more = Random(seed, 3, 5), int(what == "apply"), rest
        found = case.run(kernels, "conv2d_update_weight_accumulate", w, *more, unit=256.0)
    assert found == saturated
    np.testing.assert_array_equal(w, expected)
    np.testing.assert_array_equal(rest, expected_rest)


@given(
    CHANNELS,
    CHANNELS,
    st.sampled_from([(1, 1), (1, 3), (2, 2), (5, 5), (3, 7)]),
    st.integers(1, 4),
    st.sampled_from(["", "residual_", "accumulate_"]),
    SEEDS,
    st.booleans(),
)
@FEW
def test_pointwise_update_by_panels(
    kernels: Kernels, in_c: int, out_c: int, size: tuple[int, int], panels: int, variant: str, seed: int, listed: bool
) -> None:
    """It moves the weights that the kernel for any window moves, and by as much."""
    conv = Conv(1, in_c, out_c, size, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), zeros=(seed % 256 - 128, 0))
    case = Updated.draw(conv, "s8", seed, listed)
    row = -(-size[0] * size[1] // 4) * 4
    found = []
    for window in ("", "pointwise_"):
        w, rest = case.w.copy(), np.full(case.w.shape, 100, np.int16 if variant == "accumulate_" else np.int8)
        rounding = {
            "": (Random(seed, 3, 5),),
            "residual_": (rest,),
            "accumulate_": (Random(seed, 3, 5), seed % 2, rest),
        }
        scratch = (panels, np.zeros((4 * panels + 2) * row, np.int16)) if window else ()
        name = f"conv2d_{window}update_weight_{variant.removesuffix('_')}".removesuffix("_")
        saturated = case.run(kernels, name, w, *rounding[variant], *scratch, unit=256.0 if variant else 1.0)
        found.append((w, rest, saturated))
    for general, pointwise in zip(*found, strict=True):
        np.testing.assert_array_equal(pointwise, general)


@given(st.integers(1, 140), CHANNELS, SEEDS, st.booleans())
@FEW
def test_dense_layers_have_the_gradients_of_any_convolution(
    kernels: Kernels, in_c: int, out_c: int, seed: int, listed: bool
) -> None:
    conv = Conv(1, in_c, out_c, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), zeros=(seed % 256 - 128, 0))
    case = Updated.draw(conv, "s8", seed, listed)
    dx = np.full((in_c, 1, 1), np.nan, F32)
    kernels("fully_connected_dgrad_s8", conv.struct(), case.e, case.w, Store(out=address(dx), base_scale=1.0))
    np.testing.assert_array_equal(dx, conv.dgrad(case.e, case.w))
    general, dense = case.w.copy(), case.w.copy()
    saturated = case.run(kernels, "conv2d_update_weight", general, Random(seed, 3, 5))
    assert case.run(kernels, "fully_connected_update_weight", dense, Random(seed, 3, 5)) == saturated
    np.testing.assert_array_equal(dense, general)


def _bias_case(kind: str, channels: int, plane: int, seed: int) -> tuple[Array, Array, Array, F32, Array]:
    """Error, bias, QAS factors, rate and gradient."""
    rng = np.random.default_rng(seed)
    e = errors(rng, kind, channels, plane)
    b = rng.choice([-(2**31), 2**31 - 1, 0, 12345], channels).astype(np.int32)
    qas = rng.uniform(0.5, 2.0, channels).astype(F32)
    qas[0] = rng.choice([0.0, 1e30])
    rate = F32(10.0 ** rng.uniform(-6, 6))
    gradient = np.zeros(channels, F32)
    for i in range(plane if kind == "f32" else 0):
        gradient += e[:, i]
    return e, b, qas, rate, gradient if kind == "f32" else e.astype(np.int64).sum(axis=1).astype(F32)


@given(TYPES, st.integers(1, 9), st.integers(1, 40), SEEDS)
@FEW
def test_update_bias(kernels: Kernels, kind: str, channels: int, plane: int, seed: int) -> None:
    e, b, qas, rate, gradient = _bias_case(kind, channels, plane, seed)
    change = moved(uniforms(seed, 7, 2, channels), gradient, rate * qas)
    expected = np.where(qas == 0.0, b, np.clip(b.astype(np.int64) + change, -(2**31), 2**31 - 1)).astype(np.int32)
    kernels(f"update_bias_{kind}", e, channels, plane, qas, rate, Random(seed, 7, 2), b)
    np.testing.assert_array_equal(b, expected)


@given(TYPES, st.integers(1, 9), st.integers(1, 40), SEEDS, st.sampled_from(["residual", "hold", "apply"]))
@FEW
def test_update_bias_that_keeps_its_rest(
    kernels: Kernels, kind: str, channels: int, plane: int, seed: int, what: str
) -> None:
    e, b, qas, rate, gradient = _bias_case(kind, channels, plane, seed)
    rng = np.random.default_rng(seed + 1)
    limit = 127 if what == "residual" else 10**9
    rest = rng.choice([-limit, -limit // 2, 0, limit], channels).astype(np.int8 if what == "residual" else np.int32)
    u = np.full(channels, F32(0.5)) if what == "residual" else uniforms(seed, 7, 2, channels)
    total = rest.astype(np.int64) + moved(u, gradient, rate * qas)
    move, left = rounded(total)
    if what == "hold":
        move, left = np.zeros(channels, np.int64), np.clip(total, -limit, limit)
    alive = qas != 0.0
    expected = np.where(alive, np.clip(b.astype(np.int64) + move, -(2**31), 2**31 - 1), b).astype(np.int32)
    expected_rest = np.where(alive, left, rest)
    more = [rest] if what == "residual" else [Random(seed, 7, 2), int(what == "apply"), rest]
    variant = "residual" if what == "residual" else "accumulate"
    kernels(f"update_bias_{variant}_{kind}", e, channels, plane, qas, rate, *more, b)
    np.testing.assert_array_equal(b, expected)
    np.testing.assert_array_equal(rest, expected_rest)


@pytest.mark.parametrize("kind", sorted(ERROR_TYPES))
def test_stochastic_rounding_keeps_the_mean(kernels: Kernels, kind: str) -> None:
    """A step of 0.1 quanta moves a tenth of the weights by one."""
    conv = Conv(1, 100, 100, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    e, x = np.ones((100, 1, 1), ERROR_TYPES[kind]), np.ones((100, 1, 1), np.int8)
    w, qas = np.zeros(conv.weight, np.int8), np.ones(100, F32)
    kernels(
        f"conv2d_update_weight_{kind}", conv.struct(), e, x, Subset(None, None, 100, 100, 100), qas, 0.1, Random(), w
    )
    assert set(np.unique(w)) == {-1, 0}
    assert abs(w.mean() + 0.1) < 0.01


@pytest.mark.parametrize("kind", sorted(ERROR_TYPES))
def test_a_residual_loses_no_step(kernels: Kernels, kind: str) -> None:
    """Ten steps of a tenth of a quantum move every weight by one."""
    conv = Conv(1, 10, 10, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    e, x = np.ones((10, 1, 1), ERROR_TYPES[kind]), np.ones((10, 1, 1), np.int8)
    w, rest, qas = np.zeros(conv.weight, np.int8), np.zeros(conv.weight, np.int8), np.ones(10, F32)
    for _ in range(10):
        subset = Subset(None, None, 10, 10, 10)
        kernels(f"conv2d_update_weight_residual_{kind}", conv.struct(), e, x, subset, qas, 25.6, rest, w)
    assert (w == -1).all()
    assert (np.abs(rest) <= 10 / 2).all()


def test_random_numbers(kernels: Kernels) -> None:
    random = Random(2**32 - 5, 123456, 78)
    key = kernels("random_key", random)
    drawn = np.array([kernels("random_uniform", key, i) for i in range(1000)], F32)
    np.testing.assert_array_equal(drawn, uniforms(random.seed, random.step, random.tensor, 1000))
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert abs(drawn.mean() - 0.5) < 0.03
    assert ctypes.sizeof(random) == 12
