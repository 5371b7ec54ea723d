"""Random geometries for the kernels, and what they should compute, in numpy: independent of the C's loops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from kernel_library import ERROR_TYPES, Array, Conv2d, Pool2d

FEW = settings(max_examples=100, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
F32 = np.float32


def out_size(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class Conv:
    """A convolution's shape; pads are (top, left, bottom, right), zeros those of x and y."""

    groups: int
    group_in: int
    group_out: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]
    zeros: tuple[int, int] = (0, 0)
    limits: tuple[int, int] = (-128, 127)

    @property
    def out(self) -> tuple[int, int]:
        sizes = [
            out_size(self.size[a], self.kernel[a], self.stride[a], self.dilation[a], self.pads[a], self.pads[a + 2])
            for a in (0, 1)
        ]
        return sizes[0], sizes[1]

    @property
    def in_c(self) -> int:
        return self.groups * self.group_in

    @property
    def out_c(self) -> int:
        return self.groups * self.group_out

    @property
    def weight(self) -> tuple[int, int, int, int]:
        return self.out_c, self.group_in, *self.kernel

    def struct(self) -> Conv2d:
        """mg_conv2d_t."""
        shapes = (self.in_c, *self.size, self.out_c, *self.out, *self.kernel, *self.stride, *self.dilation)
        return Conv2d(*shapes, *self.pads[:2], self.groups, *self.zeros, *self.limits)

    def columns(self, x: Array) -> Array:
        """x (in_c, h, w) int8 as (groups, group_in, k_h, k_w, out_h, out_w), the zero point subtracted, int64."""
        (top, left, bottom, right), (s_h, s_w), (o_h, o_w) = self.pads, self.stride, self.out
        padded = np.pad(x.astype(np.int64) - self.zeros[0], ((0, 0), (top, bottom), (left, right)))
        taps = [
            padded[:, ky * self.dilation[0] :, kx * self.dilation[1] :][:, ::s_h, ::s_w][:, :o_h, :o_w]
            for ky in range(self.kernel[0])
            for kx in range(self.kernel[1])
        ]
        shape = (self.groups, self.group_in, *self.kernel, o_h, o_w)
        return np.asarray(np.stack(taps, axis=1).reshape(shape))

    def grouped(self, v: Array) -> Array:
        """Split the leading output channels by group."""
        return v.reshape(self.groups, self.group_out, *v.shape[1:])

    def accumulate(self, x: Array, w: Array, b: Array | None) -> Array:
        """The int32 accumulator (out_c, out_h, out_w), wrapped."""
        acc = np.einsum("goikl,giklyx->goyx", self.grouped(w.astype(np.int64)), self.columns(x))
        acc = acc.reshape(self.out_c, *self.out)
        acc = acc if b is None else acc + b.astype(np.int64)[:, None, None]
        return np.asarray(acc).astype(np.int32)

    def dgrad(self, e: Array, w: Array) -> Array:
        """float32 (in_c, in_h, in_w); float errors summed over oc, ky, kx in this order."""
        (top, left, bottom, right), (s_h, s_w), (o_h, o_w) = self.pads, self.stride, self.out
        exact: Any = F32 if e.dtype == F32 else np.int64
        rows, cols = (self.size[0] + top + bottom, self.size[1] + left + right)
        dx = np.zeros((self.groups, self.group_in, rows, cols), exact)
        errors, weights = self.grouped(e).astype(exact), self.grouped(w).astype(exact)
        for oc in range(self.group_out):
            for ky in range(self.kernel[0]):
                for kx in range(self.kernel[1]):
                    target = dx[:, :, ky * self.dilation[0] :, kx * self.dilation[1] :][:, :, ::s_h, ::s_w]
                    target[:, :, :o_h, :o_w] += errors[:, oc, None] * weights[:, oc, :, ky, kx, None, None]
        inside = dx[:, :, top : top + self.size[0], left : left + self.size[1]]
        return inside.reshape(self.in_c, *self.size).astype(F32)

    def wgrad(self, e: Array, x: Array) -> Array:
        """float32, shaped as the weight; float errors summed over oy, ox in this order."""
        columns, errors = self.columns(x), self.grouped(e)
        if e.dtype != F32:
            acc = np.einsum("goyx,giklyx->goikl", errors.astype(np.int64), columns)
            return np.asarray(acc.reshape(self.weight).astype(F32))
        total = np.zeros((self.groups, self.group_out, self.group_in, *self.kernel), F32)
        for oy, ox in np.ndindex(*self.out):
            total += errors[:, :, None, None, None, oy, ox] * columns[:, None, :, :, :, oy, ox].astype(F32)
        return total.reshape(self.weight)


PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
ZEROS = st.tuples(st.integers(-128, 127), st.integers(-128, 127))


@st.composite
def convs(draw: st.DrawFn) -> Conv:
    """Any convolution whose output is not empty: also 1-D, pointwise, depthwise, windows that reach far outside."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 7)))
    conv = Conv(
        groups=draw(st.integers(1, 3)),
        group_in=draw(st.integers(1, 6)),
        group_out=draw(st.integers(1, 4)),
        size=draw(st.tuples(st.integers(1, 7), st.integers(1, 13))),
        kernel=kernel,
        stride=draw(PAIRS),
        dilation=draw(PAIRS),
        pads=draw(st.tuples(*[st.integers(0, 4)] * 4)),
        zeros=draw(ZEROS),
        limits=draw(st.sampled_from([(-128, 127), (-128, 40), (-3, 127)])),
    )
    kind = draw(st.sampled_from(["any", "pointwise", "depthwise", "one row", "dense"]))
    if kind == "pointwise":
        conv = replace(conv, kernel=(1, 1), stride=(1, 1), pads=(0, 0, 0, 0))
    elif kind == "depthwise":
        conv = replace(conv, groups=conv.groups + 1, group_in=1)
    elif kind == "one row":
        conv = replace(conv, size=(1, conv.size[1] + 8), kernel=(1, kernel[1]), pads=(0, conv.pads[1], 0, conv.pads[3]))
    elif kind == "dense":
        conv = replace(conv, stride=(1, 1), dilation=(1, 1))
    # grow the input until one window fits
    missing = [max(0, conv.dilation[a] * (conv.kernel[a] - 1) + 1 - conv.size[a]) for a in (0, 1)]
    return replace(conv, size=(conv.size[0] + missing[0], conv.size[1] + missing[1]))


def requantized(acc: Array, scale: Array, zero: int, limits: tuple[int, int]) -> Array:
    """clamp, round half to even, add the zero point; scale broadcasts against acc."""
    low, high = F32(limits[0] - zero), F32(limits[1] - zero)
    return np.asarray(np.rint(np.clip(acc.astype(F32) * scale, low, high)).astype(np.int32) + zero).astype(np.int8)


def int8s(rng: np.random.Generator, *shape: int) -> Array:
    """All 256 values; some tensors are saturated throughout."""
    if rng.random() < 0.1:
        return np.full(shape, rng.choice([-128, 127]), np.int8)
    return rng.integers(-128, 128, shape).astype(np.int8)


def centred(w: Array, w_zero: Array) -> Array:
    """Weights less the zero point of their output channel, int32."""
    return np.asarray(w.astype(np.int32) - w_zero.astype(np.int32)[:, None, None, None])


def errors(rng: np.random.Generator, kind: str, *shape: int) -> Array:
    """An error tensor over the whole range of its type."""
    if kind == "f32":
        return rng.standard_normal(shape).astype(F32)
    info = np.iinfo(ERROR_TYPES[kind])
    if rng.random() < 0.1:
        return np.full(shape, rng.choice([info.min, info.max]), ERROR_TYPES[kind])
    return rng.integers(info.min, info.max + 1, shape).astype(ERROR_TYPES[kind])


@dataclass(frozen=True)
class Pool:
    """A pooling window over (channels, *size)."""

    channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]
    count_pad: bool
    zeros: tuple[int, int]

    @property
    def out(self) -> tuple[int, int]:
        return self.as_conv().out

    def as_conv(self) -> Conv:
        return Conv(self.channels, 1, 1, self.size, self.kernel, self.stride, self.dilation, self.pads, self.zeros)

    @property
    def is_global(self) -> bool:
        """Whether the only window is the whole plane."""
        return self.kernel == self.size and not any(self.pads) and self.dilation == (1, 1)

    def struct(self, limits: tuple[int, int] = (-128, 127)) -> Pool2d:
        """mg_pool2d_t."""
        shapes = (self.channels, *self.size, *self.out, *self.kernel, *self.stride, *self.dilation)
        return Pool2d(*shapes, *self.pads, int(self.count_pad), *self.zeros, *limits)

    def taps(self, x: Array, outside: int) -> Array:
        """x as (channels, k_h * k_w, out_h, out_w) int64, `outside` where the window leaves it."""
        window = replace(self.as_conv(), zeros=(0, 0))
        values = np.where(window.columns(np.ones_like(x)) == 1, window.columns(x), outside)
        return np.asarray(values).reshape(self.channels, -1, *self.out)

    def counts(self) -> Array:
        """float32 (out_h, out_w): by how many positions the mean divides."""
        window, ones = replace(self, channels=1, zeros=(0, 0)), np.ones((1, *self.size), np.int8)
        if self.count_pad:
            top, left, bottom, right = self.pads
            window = replace(window, size=(self.size[0] + top + bottom, self.size[1] + left + right), pads=(0, 0, 0, 0))
            ones = np.ones((1, *window.size), np.int8)
        return np.asarray(window.taps(ones, 0).sum(axis=1)[0]).astype(F32)

    def scatter(self, parts: Array) -> Array:
        """Sum (channels, k_h * k_w, out_h, out_w) float32 into (channels, *size), windows row by row."""
        (top, left, bottom, right), (s_h, s_w), (d_h, d_w) = self.pads, self.stride, self.dilation
        dx = np.zeros((self.channels, self.size[0] + top + bottom, self.size[1] + left + right), F32)
        for oy, ox in np.ndindex(*self.out):
            for tap, (ky, kx) in enumerate(np.ndindex(*self.kernel)):
                dx[:, oy * s_h + ky * d_h, ox * s_w + kx * d_w] += parts[:, tap, oy, ox]
        return np.ascontiguousarray(dx[:, top : top + self.size[0], left : left + self.size[1]])


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Windows that all meet the input (ONNX: a pad is smaller than the kernel)."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pads = [draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)]
    spans = [dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1)]
    size = draw(st.tuples(st.integers(spans[0], spans[0] + 6), st.integers(spans[1], spans[1] + 10)))
    stride, channels = draw(PAIRS), draw(st.integers(1, 3))
    pool = Pool(
        channels, size, kernel, stride, dilation, (pads[0], pads[1], pads[2], pads[3]), draw(st.booleans()), draw(ZEROS)
    )
    if draw(st.booleans()):
        return pool
    return replace(pool, kernel=pool.size, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0))
