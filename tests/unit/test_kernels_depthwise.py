"""Depthwise convolutions by output rows, over any layout: against numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS, Conv, convs, errors, int8s, requantized
from kernel_layouts import LAYOUTS, memory, rows_and_input, scratch_of_depthwise, scratch_of_gradient
from kernel_library import Array, Conv2dRows, Kernels, Layout, Store, Weights, address
from mcugrad.descriptors import in_one_tile

KINDS = st.sampled_from(LAYOUTS)


@st.composite
def depthwise(draw: st.DrawFn) -> Conv:
    """Some are as wide or as high as several tiles, some have the kernels that assembly knows."""
    conv = replace(draw(convs()), group_in=1)
    if draw(st.booleans()):
        k, s = draw(st.sampled_from([3, 5, 7])), draw(st.sampled_from([1, 2]))
        pads = draw(st.tuples(*[st.integers(0, k - 1)] * 4))
        size = (conv.size[0] + 6, conv.size[1] + 6)
        conv = replace(conv, kernel=(k, k), stride=(s, s), dilation=(1, 1), size=size, pads=pads)
    wide, high = draw(st.sampled_from([(0, 0), (0, 0), (70, 0), (0, 60)]))
    return replace(conv, size=(conv.size[0] + high, conv.size[1] + wide))


@given(depthwise(), SEEDS, KINDS, KINDS, st.data())
@FEW
def test_rows(kernels: Kernels, conv: Conv, seed: int, x_kind: str, y_kind: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    bias = rng.integers(-(reach := rng.choice([100, 2**31])), reach, conv.out_c).astype(np.int32)
    scale = (10.0 ** rng.uniform(-4, -1, conv.out_c)).astype(F32)
    x, w = int8s(rng, conv.in_c, *conv.size), int8s(rng, *conv.weight)
    rows, source = rows_and_input(data, conv, x, x_kind)
    shape, first, count = (conv.out_c, *conv.out), rows.start, len(rows)
    target, expected = memory(y_kind, shape, count), memory(y_kind, shape, count)
    geometry = Conv2dRows(conv.struct(), source.layout, target.layout)
    weights = Weights(address(w), address(bias), address(scale))
    scratch = scratch_of_depthwise(conv, count)
    kernels("depthwise_conv2d_rows_s8", geometry, first, count, source.data, weights, scratch, target.data)
    expected.put(requantized(conv.accumulate(x, w, bias), scale[:, None, None], conv.zeros[1], conv.limits), rows)
    np.testing.assert_array_equal(target.data, expected.data)  # nothing outside was written, either


@given(depthwise(), SEEDS)
@FEW
def test_gradient_by_the_input(kernels: Kernels, conv: Conv, seed: int) -> None:
    """The result is added to what it replaces, so that an element stored twice would show."""
    conv = replace(conv, group_out=1)
    rng = np.random.default_rng(seed)
    e, w = errors(rng, "s8", conv.out_c, *conv.out), int8s(rng, *conv.weight)
    skip = rng.integers(-50, 51, (conv.in_c, *conv.size)).astype(np.int8)
    total, expected = skip.copy(), conv.dgrad(e, w)
    base = F32(60.0 / max(float(np.abs(expected).max()), 1.0))
    pointer = address(total)
    store = Store(out=pointer, skip=pointer, base_scale=base, skip_scale=1.0, inv_scale=1.0, out_type=1, skip_type=1)
    scratch = scratch_of_gradient(conv)
    kernels("depthwise_conv2d_dgrad_s8", conv.struct(), e, w, scratch, store)
    np.testing.assert_array_equal(total, np.rint(expected * base + skip.astype(F32)))
    assert store.absmax == np.abs(expected * base + skip.astype(F32)).max()


def _over_what_is_read(x: Array, outputs: int, more: int) -> tuple[Array, Array]:
    """Memory in which the output may begin, and x inside it as near as the planner allows, and `more` bytes."""
    begin = max(0, outputs - x.size) + more
    memory = np.full(max(outputs, begin + x.size), 77, np.int8)
    memory[begin : begin + x.size] = x.ravel()
    return memory, memory[begin:]


@given(depthwise(), SEEDS, st.integers(0, 9))
@FEW
def test_an_output_over_the_channels_that_have_been_read(kernels: Kernels, conv: Conv, seed: int, more: int) -> None:
    attrs = {"stride": conv.stride, "dilation": conv.dilation}
    assume(in_one_tile(conv.weight, (1, conv.out_c, *conv.out), attrs))
    rng = np.random.default_rng(seed)
    x, w = int8s(rng, conv.in_c, *conv.size), int8s(rng, *conv.weight)
    bias, scale = rng.integers(-99, 99, conv.out_c).astype(np.int32), np.full(conv.out_c, 0.01, F32)
    expected = requantized(conv.accumulate(x, w, bias), scale[:, None, None], conv.zeros[1], conv.limits)
    y, source = _over_what_is_read(x, expected.size, more)
    layouts = (Layout(h * w, w, h) for h, w in (conv.size, conv.out))
    weights, scratch = Weights(address(w), address(bias), address(scale)), scratch_of_depthwise(conv, conv.out[0])
    geometry = Conv2dRows(conv.struct(), *layouts)
    kernels("depthwise_conv2d_rows_s8", geometry, 0, conv.out[0], source, weights, scratch, y)
    np.testing.assert_array_equal(y[: expected.size], expected.ravel())


@given(depthwise(), SEEDS, st.integers(0, 9))
@FEW
def test_a_gradient_over_the_channels_that_have_been_read(kernels: Kernels, conv: Conv, seed: int, more: int) -> None:
    conv = replace(conv, group_out=1)
    attrs = {"stride": (1, 1), "dilation": conv.dilation}
    assume(in_one_tile(conv.weight, (1, conv.in_c, *conv.size), attrs))
    rng = np.random.default_rng(seed)
    e, w = errors(rng, "s8", conv.out_c, *conv.out), int8s(rng, *conv.weight)
    expected = conv.dgrad(e, w)
    dx, source = _over_what_is_read(e, expected.size, more)
    base = F32(100.0 / max(float(np.abs(expected).max()), 1.0))
    store = Store(out=address(dx), base_scale=base, inv_scale=1.0, out_type=1)
    kernels("depthwise_conv2d_dgrad_s8", conv.struct(), source, w, scratch_of_gradient(conv), store)
    np.testing.assert_array_equal(dx[: expected.size], np.rint(expected * base).ravel())
