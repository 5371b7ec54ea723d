"""Both gradients of a pointwise convolution in one call, with the error in the input's place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS, Conv, int8s
from kernel_library import Array, Kernels, Random, Store, Subset, address

SIZES = st.sampled_from([(1, 4), (2, 2), (5, 5), (3, 7), (8, 8)])


@dataclass
class Layer:
    """What a step changes: the input, where the error by it goes in the end, the weights, what the scale remembers."""

    conv: Conv
    e: Array
    x: Array
    w: Array
    qas: Array
    mult: Array
    skip: Array
    ratio: Array
    unit: F32

    @staticmethod
    def draw(conv: Conv, seed: int, ratio: float) -> Layer:
        rng = np.random.default_rng(seed)
        qas = rng.uniform(0.5, 2.0, conv.out_c).astype(F32)
        qas[rng.random(conv.out_c) < 0.2] = 0.0
        mult, skip = rng.uniform(0.5, 2.0, conv.in_c).astype(F32), int8s(rng, conv.in_c, *conv.size)
        e, x, w = int8s(rng, conv.out_c, *conv.out), int8s(rng, conv.in_c, *conv.size), int8s(rng, *conv.weight)
        return Layer(conv, e, x, w, qas, mult, skip, np.array([ratio], F32), F32(rng.uniform(0.1, 10.0)))

    def store(self, out: Array) -> Store:
        """Masked with the input, which saturates at its ends; the residual error is added."""
        pointers = {"out": address(out), "skip": address(self.skip), "mult": address(self.mult)}
        scales = {"base_scale": 2.0**-6, "skip_scale": 0.5}
        limits = {"mask": address(self.x), "mask_min": -100, "mask_max": 100}
        return Store(**pointers, **scales, **limits, out_type=1, skip_type=1)


def _one_by_one(kernels: Kernels, layer: Layer, random: Random, subset: Subset, rate: F32) -> tuple[Array, Store, int]:
    """Error, its store, saturated weights: the kernels of any window, in the loop that mg_scale_predict describes."""
    out, again = np.zeros_like(layer.x), True
    store = layer.store(out)
    while again:
        kernels("scale_predict", store, float(layer.ratio[0]), float(layer.unit))
        kernels("conv2d_dgrad_s8", layer.conv.struct(), layer.e, layer.w, store)
        again = kernels("scale_observe", store, layer.ratio, float(layer.unit))
    operands = layer.conv.struct(), layer.e, layer.x, subset, layer.qas, rate, random, layer.w
    return out, store, int(kernels("conv2d_update_weight_s8", *operands))


def _joined(
    kernels: Kernels, layer: Layer, random: Random, subset: Subset, rate: F32, panels: int, strip: int = 1
) -> tuple[Array, Store, int]:
    conv, store = layer.conv, layer.store(layer.x)
    positions = conv.size[0] * conv.size[1]
    work = (4 * panels + 2) * -(-positions // 4) * 4, (4 * strip + 2) * (conv.out_c + conv.out_c % 2)
    scratch = np.zeros(2 * panels * positions + max(work), np.int16)
    operands = conv.struct(), layer.e, layer.x, subset, layer.qas, rate, random, layer.w
    scale = layer.ratio, float(layer.unit), store
    saturated = kernels("conv2d_pointwise_backward_s8", *operands, panels, strip, scratch, *scale)
    return layer.x, store, int(saturated)


@given(
    st.integers(1, 8),
    st.integers(1, 9),
    SIZES,
    st.tuples(st.integers(1, 3), st.integers(1, 16)),
    st.sampled_from([0.0, 1e-3, 2.0]),
    SEEDS,
)
@FEW
def test_the_error_takes_the_place_of_the_input_and_nothing_else_changes(
    kernels: Kernels, pairs: int, out_c: int, size: tuple[int, int], panels: tuple[int, int], ratio: float, seed: int
) -> None:
    conv = Conv(1, 2 * pairs, out_c, size, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), zeros=(seed % 256 - 128, 0))
    apart, joined = (Layer.draw(conv, seed, ratio) for _ in range(2))
    subset, random = Subset(None, None, conv.in_c, conv.out_c, conv.in_c), Random(seed, 3, 5)
    rate = F32(10.0 / max(np.abs(conv.wgrad(apart.e, apart.x)).max(), 1.0))
    error, store, saturated = _one_by_one(kernels, apart, random, subset, rate)
    found, found_store, found_saturated = _joined(kernels, joined, random, subset, rate, *panels)
    np.testing.assert_array_equal(found, error)
    np.testing.assert_array_equal(joined.w, apart.w)
    assert found_saturated == saturated
    assert joined.ratio == apart.ratio
    for name in ("scale", "absmax", "clipped"):
        assert getattr(found_store, name) == getattr(store, name), name


def test_weights_move_though_every_error_by_the_input_is_zero(kernels: Kernels) -> None:
    """Nothing is known of the size of the errors, and nothing can be learned: the step goes on all the same."""
    conv = Conv(1, 2, 3, (2, 2), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    apart, joined = (Layer.draw(conv, 1, 0.0) for _ in range(2))
    for layer in (apart, joined):
        layer.mult[:] = 0.0
    subset, random, rate = Subset(None, None, 2, 3, 2), Random(1, 3, 5), F32(1e-4)
    before = apart.w.copy()
    _one_by_one(kernels, apart, random, subset, rate)
    _, store, _ = _joined(kernels, joined, random, subset, rate, 1)
    assert store.scale == joined.ratio.item() == 0.0
    assert (apart.w != before).any()
    np.testing.assert_array_equal(joined.w, apart.w)


@pytest.mark.parametrize("panels", [1, 2])
def test_some_outputs_train(kernels: Kernels, panels: int) -> None:
    conv = Conv(1, 6, 9, (3, 3), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    apart, joined = (Layer.draw(conv, 2, 1.0) for _ in range(2))
    runs = np.array([1, 2, 5, 8], np.uint16)
    subset, random, rate = Subset(None, address(runs), 6, 2, 6), Random(2, 3, 5), F32(1e-3)
    error, _, _ = _one_by_one(kernels, apart, random, subset, rate)
    found, _, _ = _joined(kernels, joined, random, subset, rate, panels)
    np.testing.assert_array_equal(found, error)
    np.testing.assert_array_equal(joined.w, apart.w)
