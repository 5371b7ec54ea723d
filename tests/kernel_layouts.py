"""Tensors in the layouts that kernels by output rows read and write (mg_layout_t)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from kernel_cases import Conv
from kernel_library import Array, Conv2dRows, Kernels, Layout, SplitWeights, Weights, address
from mcugrad.descriptors import depthwise_dgrad_scratch, depthwise_scratch
from mcugrad.plan.panels import in_pairs

UNTOUCHED = 77
LAYOUTS = ("CHW", "HCW", "gaps", "ring", "ring of HCW")


@dataclass(frozen=True)
class Memory:
    """A tensor of `channels` x `height` x `width` laid out in `data`, whose every element belongs to it or is a gap."""

    layout: Layout
    data: Array

    def put(self, values: Array, rows: range) -> None:
        """Write rows of (channels, height, width) where the kernel looks for them."""
        for c, r in np.ndindex(values.shape[0], len(rows)):
            at = self._at(c, rows[r])
            self.data[at : at + values.shape[2]] = values[c, rows[r]]

    def get(self, shape: tuple[int, int, int], rows: range) -> Array:
        """Rows of a tensor of `shape`, (channels, rows, width)."""
        lines = [[self.data[(at := self._at(c, r)) : at + shape[2]] for r in rows] for c in range(shape[0])]
        return np.array(lines, np.int8).reshape(shape[0], len(rows), shape[2])

    def _at(self, channel: int, row: int) -> int:
        return int(channel * self.layout.channel + row % self.layout.rows * self.layout.row)


def memory(kind: str, shape: tuple[int, int, int], ring: int) -> Memory:
    """Room for a tensor of `shape`; `ring`: the rows of a ring."""
    channels, height, width = shape
    layout = {
        "CHW": Layout(height * width, width, height),
        "HCW": Layout(width, channels * width, height),
        "gaps": Layout(height * (width + 3) + 5, width + 3, height),
        "ring": Layout(ring * width, width, ring),
        "ring of HCW": Layout(width, channels * width, ring),
    }[kind]
    return Memory(layout, np.full((channels + 1) * (height + 1) * (width + 4) + 5, UNTOUCHED, np.int8))


@dataclass(frozen=True)
class Parts:
    """OIHW weights as mg_split_weights_t: those of the first n input channels, and the others in pairs."""

    first: Array
    pairs: Array
    n: int

    @staticmethod
    def of(w: Array, n: int) -> Parts:
        return Parts(np.ascontiguousarray(w[:, :n]), in_pairs(w[:, n:]), n)

    def struct(self) -> SplitWeights:
        first, pairs = (address(a) if a.size else None for a in (self.first, self.pairs))
        return SplitWeights(first, pairs, self.n)


def rows_and_input(data: st.DataObject, conv: Conv, x: Array, kind: str) -> tuple[range, Memory]:
    """Some output rows to ask for, and `x` as it lies: a ring holds what these rows read, and no more."""
    first = data.draw(st.integers(0, conv.out[0] - 1))
    count = data.draw(st.integers(1, conv.out[0] - first))
    top = first * conv.stride[0] - conv.pads[0]
    bottom = top + (count - 1) * conv.stride[0] + conv.dilation[0] * (conv.kernel[0] - 1)
    seen = range(min(max(top, 0), conv.size[0] - 1), min(max(bottom, 0), conv.size[0] - 1) + 1)
    source = memory(kind, x.shape, len(seen))
    source.put(x, seen if "ring" in kind else range(conv.size[0]))
    return range(first, first + count), source


def scratch_of_depthwise(conv: Conv, rows: int) -> Array:
    """Dirty, and with nothing to spare: AddressSanitizer watches its end."""
    attrs = {"stride": conv.stride, "dilation": conv.dilation}
    elements = depthwise_scratch(conv.weight, (1, conv.out_c, *conv.out), attrs, rows)
    return np.full(elements, -1234, np.int16)


def scratch_of_gradient(conv: Conv) -> Array:
    """The same for the gradient by the input."""
    attrs = {"stride": conv.stride, "dilation": conv.dilation}
    elements = depthwise_dgrad_scratch(conv.weight, (1, conv.in_c, *conv.size), attrs)
    return np.full(elements, -1234, np.int16)


def run_depthwise(kernels: Kernels, conv: Conv, x: Array, w: Array, bias: Array, scale: Array) -> Array:
    """A whole depthwise layer, CHW."""
    shape = (conv.out_c, *conv.out)
    source, target = memory("CHW", x.shape, 0), np.full(shape, UNTOUCHED, np.int8)
    geometry = Conv2dRows(conv.struct(), source.layout, memory("CHW", shape, 0).layout)
    weights, scratch = Weights(address(w), address(bias), address(scale)), scratch_of_depthwise(conv, shape[1])
    kernels("depthwise_conv2d_rows_s8", geometry, 0, shape[1], x, weights, scratch, target)
    return target
