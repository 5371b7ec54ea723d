"""Convolutions by output rows, over any layout, and fully connected layers with weights in pairs: against numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS, Conv, convs, int8s, requantized
from kernel_layouts import LAYOUTS, UNTOUCHED, Parts, memory, rows_and_input
from kernel_library import Array, Conv2dRows, Kernels, Layout, Weights, address


def _pairs(w: Array) -> Array:
    """OIHW weights as mg_conv2d_rows_s8 reads them."""
    out_c, taps = w.shape[0], w[0].size
    padded = np.zeros((out_c + out_c % 2, taps + taps % 2), np.int8)
    padded[:out_c, :taps] = w.reshape(out_c, taps)
    return np.ascontiguousarray(padded.reshape(-1, 2, padded.shape[1]).transpose(0, 2, 1))


def _operands(conv: Conv, seed: int) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    reach = rng.choice([100, 2**31])  # biases that wrap the accumulator, too
    bias = rng.integers(-reach, reach, conv.out_c).astype(np.int32)
    scale = (10.0 ** rng.uniform(-4, -1, conv.out_c)).astype(F32)
    return int8s(rng, conv.in_c, *conv.size), int8s(rng, *conv.weight), bias, scale


def _expected(conv: Conv, x: Array, w: Array, bias: Array, scale: Array) -> Array:
    return requantized(conv.accumulate(x, w, bias), scale[:, None, None], conv.zeros[1], conv.limits)


def _scratch(taps: int, words: int) -> Array:
    """Dirty, and with nothing to spare: AddressSanitizer watches its end."""
    return np.full(words * (taps + taps % 2), -1234, np.int16)


KINDS = st.sampled_from(LAYOUTS)


@given(convs(), SEEDS, KINDS, KINDS, st.data())
@FEW
def test_rows_of_a_convolution(
    kernels: Kernels, conv: Conv, seed: int, x_kind: str, y_kind: str, data: st.DataObject
) -> None:
    conv = replace(conv, groups=1, group_in=conv.groups * conv.group_in, group_out=conv.groups * conv.group_out)
    x, w, bias, scale = _operands(conv, seed)
    rows, source = rows_and_input(data, conv, x, x_kind)
    first, count = rows.start, len(rows)
    shape = (conv.out_c, *conv.out)
    target = memory(y_kind, shape, count)
    geometry = Conv2dRows(conv.struct(), source.layout, target.layout)
    packed, taps = _pairs(w), w[0].size
    weights = Weights(address(packed), address(bias), address(scale))
    kernels("conv2d_rows_s8", geometry, first, count, source.data, weights, _scratch(taps, 4), target.data)
    expected = _expected(conv, x, w, bias, scale)[:, first : first + count]
    np.testing.assert_array_equal(target.get(shape, rows), expected)
    outside = memory(y_kind, shape, count)
    outside.put(_expected(conv, x, w, bias, scale), rows)
    np.testing.assert_array_equal(target.data, outside.data)  # and nothing else was written


@given(convs(), SEEDS, KINDS, KINDS, st.integers(1, 5), st.data())
@FEW
def test_strips_of_panels(
    kernels: Kernels, conv: Conv, seed: int, x_kind: str, y_kind: str, panels: int, data: st.DataObject
) -> None:
    """Of an even number of channels, four positions a row or more."""
    group_out = conv.groups * conv.group_out
    conv = replace(conv, groups=1, group_in=conv.groups * conv.group_in, group_out=group_out + group_out % 2)
    conv = replace(conv, size=(conv.size[0], conv.size[1] + 3 * conv.stride[1]))
    x, w, bias, scale = _operands(conv, seed)
    rows, source = rows_and_input(data, conv, x, x_kind)
    first, count, shape = rows.start, len(rows), (conv.out_c, *conv.out)
    target, expected = memory(y_kind, shape, count), memory(y_kind, shape, count)
    geometry = Conv2dRows(conv.struct(), source.layout, target.layout)
    packed, taps = _pairs(w), w[0].size
    weights = Weights(address(packed), address(bias), address(scale))
    scratch = _scratch(taps, 4 * panels + 2)
    kernels("conv2d_strips_s8", geometry, first, count, source.data, weights, panels, scratch, target.data)
    expected.put(_expected(conv, x, w, bias, scale), rows)
    np.testing.assert_array_equal(target.data, expected.data)  # and nothing else was written


@given(convs(), SEEDS, st.integers(1, 5), st.data())
@FEW
def test_a_convolution_of_weights_in_their_own_order(
    kernels: Kernels, conv: Conv, seed: int, panels: int, data: st.DataObject
) -> None:
    """Of all input channels, or of the first ones."""
    conv = replace(conv, groups=1, group_in=conv.groups * conv.group_in, group_out=conv.groups * conv.group_out)
    x, w, bias, scale = _operands(conv, seed)
    window = conv.kernel[0] * conv.kernel[1]
    n = data.draw(st.sampled_from([n for n in range(1, conv.in_c + 1) if n * window % 2 == 0 or n == conv.in_c]))
    y, parts = np.full((conv.out_c, *conv.out), UNTOUCHED, np.int8), Parts.of(w, n)
    work = panels, _scratch(w[0].size, 4 * panels + 1)
    kernels("conv2d_panels_s8", conv.struct(), x, parts.struct(), bias, scale, *work, y)
    np.testing.assert_array_equal(y, _expected(conv, x, w, bias, scale))


@given(st.integers(1, 70), st.integers(1, 11), SEEDS)
@FEW
def test_fully_connected(kernels: Kernels, n_in: int, n_out: int, seed: int) -> None:
    conv = Conv(1, n_in, n_out, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (seed % 256 - 128, 5))
    conv = replace(conv, limits=((-128, 127), (-20, 90))[seed % 2])
    x, w, bias, scale = _operands(conv, seed)
    packed, y = _pairs(w), np.full(n_out, UNTOUCHED, np.int8)
    weights = Weights(address(packed), address(bias), address(scale))
    kernels("fully_connected_pairs_s8", conv.struct(), x, weights, _scratch(n_in, 1), y)
    np.testing.assert_array_equal(y, _expected(conv, x, w, bias, scale).ravel())


def test_the_longest_sum_that_cannot_overflow(kernels: Kernels) -> None:
    conv = Conv(1, 65535, 2, (1, 4), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (-128, 0))
    x, w = np.full((conv.in_c, 1, 4), 127, np.int8), np.full(conv.weight, -128, np.int8)
    bias, scale, packed = np.zeros(2, np.int32), np.full(2, 5e-8, F32), _pairs(w)
    weights = Weights(address(packed), address(bias), address(scale))
    expected = requantized(np.full(8, -65535 * 255 * 128), scale[0], 0, (-128, 127))
    layout, y = Layout(4, 4, 1), np.zeros(8, np.int8)
    geometry = Conv2dRows(conv.struct(), layout, layout)
    kernels("conv2d_rows_s8", geometry, 0, 1, x, weights, _scratch(conv.in_c, 4), y)
    np.testing.assert_array_equal(y, expected)
    one, column = replace(conv, size=(1, 1)), np.ascontiguousarray(x[:, 0, 0])
    kernels("fully_connected_pairs_s8", one.struct(), column, weights, _scratch(conv.in_c, 1), y)
    np.testing.assert_array_equal(y[:2], expected[:2])
