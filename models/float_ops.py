"""The operators of `float_graph`: forward and hand-written backward, vectorised with NumPy.

An operator is `forward(inputs, layer) -> (output, cache)` and `backward(dy, cache, layer) -> [dx of each input]`; those
with parameters add `parameter_gradients`. 1-D data is handled as height 1. dtypes follow the inputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[Any]
Wanted = tuple[bool, bool]  # (weight?, bias?)
ParameterGradients = tuple["Array | None", "Array | None"]


class GraphError(ValueError):
    """The graph holds something that the float reference does not know; the message names the node."""


@dataclass
class Layer:
    """Parameters of a Conv (`weight` as in ONNX) or a Gemm (`weight` (out, in)); `bias` (out,) or None."""

    name: str
    weight: Array
    bias: Array | None


class Op(ABC):
    """One operator; those with parameters override `parameter_gradients`."""

    @abstractmethod
    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        """The output, and whatever the two methods below need as `cache`."""

    @abstractmethod
    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        """dLoss/d(each input) from dLoss/d(output)."""

    def parameter_gradients(self, dy: Array, cache: Any, layer: Layer, wanted: Wanted) -> ParameterGradients:
        """dLoss/d(weight) and dLoss/d(bias), summed over samples, None where not wanted."""
        return None, None


@dataclass(frozen=True)
class Window:
    """A sliding window in 2-D: `pads` is (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]

    @staticmethod
    def of(name: str, kernel: Sequence[int], attributes: Mapping[str, Any]) -> Window:
        """From ONNX attributes; `kernel` has one or two sizes."""
        if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise GraphError(f"node '{name}': auto_pad is not known; write the pads as numbers")
        rank = len(kernel)
        if rank not in (1, 2):
            raise GraphError(f"node '{name}': a {rank}-D window is not known; 1-D and 2-D are")

        def pair(sizes: Sequence[int]) -> tuple[int, int]:
            return (1, int(sizes[0])) if rank == 1 else (int(sizes[0]), int(sizes[1]))

        pads = list(attributes.get("pads", [0] * 2 * rank))
        top, left, bottom, right = [0, pads[0], 0, pads[1]] if rank == 1 else pads
        stride, dilation = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
        return Window(pair(kernel), pair(stride), pair(dilation), (top, left, bottom, right))

    def columns(self, x: Array, fill: float) -> tuple[Array, tuple[int, ...]]:
        """x (n, c, h, w) -> a view (n, c, kh, kw, oh, ow) of the padded input, and the padded shape."""
        top, left, bottom, right = self.pads
        if any(self.pads):
            n, c, h, w = x.shape
            padded = np.full((n, c, h + top + bottom, w + left + right), fill, x.dtype)
            padded[:, :, top : top + h, left : left + w] = x
            x = padded
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        oh, ow = (x.shape[2] - (kh - 1) * dh - 1) // sh + 1, (x.shape[3] - (kw - 1) * dw - 1) // sw + 1
        if oh < 1 or ow < 1:
            raise GraphError(f"a window of {kh}x{kw} does not fit into {x.shape[2]}x{x.shape[3]}")
        n_, c_, h_, w_ = x.strides
        view = as_strided(
            x, (*x.shape[:2], kh, kw, oh, ow), (n_, c_, h_ * dh, w_ * dw, h_ * sh, w_ * sw), writeable=False
        )
        return view, x.shape

    def scatter(self, columns: Array, padded: tuple[int, ...]) -> Array:
        """The transpose of `columns`: sums (n, c, kh, kw, oh, ow) back into (n, c, h, w)."""
        dx = np.zeros(padded, columns.dtype)
        oh, ow = columns.shape[4:]
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                y, x = i * self.dilation[0], j * self.dilation[1]
                rows = slice(y, y + oh * self.stride[0], self.stride[0])
                dx[:, :, rows, x : x + ow * self.stride[1] : self.stride[1]] += columns[:, :, i, j]
        top, left, bottom, right = self.pads
        return dx[:, :, top : padded[2] - bottom, left : padded[3] - right]


def _as_2d(x: Array) -> Array:
    return x[:, :, None, :] if x.ndim == 3 else x


@dataclass(frozen=True)
class Conv(Op):
    """y = bias + conv(x, weight) by im2col: one matrix product per sample and group."""

    window: Window
    groups: int

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        assert layer is not None
        x = inputs[0]
        view, padded = self.window.columns(_as_2d(x), 0.0)
        n, oh, ow = len(x), *view.shape[4:]
        columns = view.reshape(n, self.groups, -1, oh * ow)
        y = np.matmul(layer.weight.reshape(self.groups, -1, columns.shape[2]), columns).reshape(n, -1, oh * ow)
        if layer.bias is not None:
            y += layer.bias[:, None]
        spatial = (ow,) if x.ndim == 3 else (oh, ow)
        return y.reshape(n, -1, *spatial), (columns, view.shape, padded, x.ndim)

    def parameter_gradients(self, dy: Array, cache: Any, layer: Layer, wanted: Wanted) -> ParameterGradients:
        columns = cache[0]
        n, groups, _, positions = columns.shape
        error = dy.reshape(n, groups, -1, positions)
        weight = np.matmul(error, columns.swapaxes(2, 3)).sum(0).reshape(layer.weight.shape) if wanted[0] else None
        return weight, error.sum((0, 3)).reshape(-1) if wanted[1] else None

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        assert layer is not None
        columns, shape, padded, rank = cache
        n, groups, size, positions = columns.shape
        weight = layer.weight.reshape(groups, -1, size).swapaxes(1, 2)
        dx = self.window.scatter(np.matmul(weight, dy.reshape(n, groups, -1, positions)).reshape(shape), padded)
        return [dx[:, :, 0] if rank == 3 else dx]


@dataclass(frozen=True)
class DepthwiseConv(Op):
    """A 2-D Conv with one filter per channel, tap by tap with the channels innermost: im2col would copy every input
    kernel-size times for products of one row."""

    window: Window

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        assert layer is not None
        x = inputs[0]
        n, c, h, w = x.shape
        top, left, bottom, right = self.window.pads
        padded = np.zeros((n, h + top + bottom, w + left + right, c), x.dtype)
        padded[:, top : top + h, left : left + w] = x.transpose(0, 2, 3, 1)
        taps = self._taps(padded, layer)
        y = np.zeros_like(taps[0][0])
        product = np.empty_like(y)
        for part, weight in taps:
            np.multiply(part, weight, out=product)
            y += product
        if layer.bias is not None:
            y += layer.bias
        return np.ascontiguousarray(y.transpose(0, 3, 1, 2)), (padded, (h, w))

    def parameter_gradients(self, dy: Array, cache: Any, layer: Layer, wanted: Wanted) -> ParameterGradients:
        weight = None
        if wanted[0]:
            error = np.ascontiguousarray(dy.transpose(0, 2, 3, 1))
            sums = [(part * error).sum((0, 1, 2)) for part, _ in self._taps(cache[0], layer)]
            weight = np.stack(sums, axis=1).reshape(layer.weight.shape)
        return weight, dy.sum((0, 2, 3)) if wanted[1] else None

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        assert layer is not None
        padded, (h, w) = cache
        error = np.ascontiguousarray(dy.transpose(0, 2, 3, 1))
        dx, product = np.zeros_like(padded), np.empty_like(error)
        for part, weight in self._taps(dx, layer):
            np.multiply(error, weight, out=product)
            part += product
        top, left = self.window.pads[:2]
        return [np.ascontiguousarray(dx[:, top : top + h, left : left + w].transpose(0, 3, 1, 2))]

    def _taps(self, padded: Array, layer: Layer) -> list[tuple[Array, Array]]:
        """For every tap of the kernel: the view of `padded` (n, h, w, c) that it reads, and its weights (c,)."""
        (kh, kw), (sh, sw), (dh, dw) = self.window.kernel, self.window.stride, self.window.dilation
        oh, ow = (padded.shape[1] - (kh - 1) * dh - 1) // sh + 1, (padded.shape[2] - (kw - 1) * dw - 1) // sw + 1
        if oh < 1 or ow < 1:
            raise GraphError(f"a window of {kh}x{kw} does not fit into {padded.shape[1]}x{padded.shape[2]}")
        weights = np.ascontiguousarray(layer.weight.reshape(-1, kh * kw).T)
        places = [(i * dh, j * dw) for i in range(kh) for j in range(kw)]
        views = [padded[:, y : y + (oh - 1) * sh + 1 : sh, x : x + (ow - 1) * sw + 1 : sw] for y, x in places]
        return list(zip(views, weights, strict=True))


@dataclass(frozen=True)
class Gemm(Op):
    """y = x weight^T + bias: (n, in) -> (n, out)."""

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        assert layer is not None
        y = inputs[0] @ layer.weight.T
        return y if layer.bias is None else y + layer.bias, inputs[0]

    def parameter_gradients(self, dy: Array, cache: Any, layer: Layer, wanted: Wanted) -> ParameterGradients:
        return dy.T @ cache if wanted[0] else None, dy.sum(0) if wanted[1] else None

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        assert layer is not None
        return [dy @ layer.weight]


@dataclass(frozen=True)
class Clip(Op):
    """min(max(x, low), high); also Relu. The gradient passes strictly inside the limits."""

    low: float
    high: float

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        x = inputs[0]
        y = np.maximum(x, self.low)
        return np.minimum(y, self.high) if np.isfinite(self.high) else y, x

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        return [dy * ((cache > self.low) & (cache < self.high))]


@dataclass(frozen=True)
class Add(Op):
    """a + b of equal shapes."""

    name: str

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        a, b = inputs
        if a.shape != b.shape:
            raise GraphError(f"node '{self.name}' adds shapes {a.shape} and {b.shape}; equal ones are needed")
        return a + b, None

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        return [dy, dy]


@dataclass(frozen=True)
class Pool(Op):
    """MaxPool (the first of equal maxima gets the gradient) or AveragePool (`count_pad`: padding counts too)."""

    window: Window
    largest: bool
    count_pad: bool

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        x = inputs[0]
        view, padded = self.window.columns(_as_2d(x), -np.inf if self.largest else 0.0)
        n, c, kh, kw, oh, ow = view.shape
        spatial = (ow,) if x.ndim == 3 else (oh, ow)
        columns = view.reshape(n, c, kh * kw, oh, ow)
        if self.largest:
            chosen = columns.argmax(2, keepdims=True)
            y = np.take_along_axis(columns, chosen, 2)
            return y.reshape(n, c, *spatial), (chosen, view.shape, padded, x.ndim)
        share = 1 / self._counted(x)
        return (columns.sum(2) * share).reshape(n, c, *spatial), (share, view.shape, padded, x.ndim)

    def _counted(self, x: Array) -> Array:
        """How many positions each mean divides by: (oh, ow)."""
        inside = np.ones((1, 1, *_as_2d(x).shape[2:]), x.dtype)
        counted: Array = self.window.columns(inside, float(self.count_pad))[0].sum((2, 3))[0, 0]
        return counted

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        kept, shape, padded, rank = cache
        n, c, kh, kw, oh, ow = shape
        error = dy.reshape(n, c, 1, oh, ow)
        if self.largest:
            columns = np.zeros((n, c, kh * kw, oh, ow), dy.dtype)
            np.put_along_axis(columns, kept, error, 2)
        else:
            columns = np.broadcast_to(error * kept, (n, c, kh * kw, oh, ow))
        dx = self.window.scatter(columns.reshape(shape), padded)
        return [dx[:, :, 0] if rank == 3 else dx]


@dataclass(frozen=True)
class SpatialMean(Op):
    """Mean over `axes` (None: every axis but sample and channel): GlobalAveragePool and ReduceMean."""

    name: str
    axes: tuple[int, ...] | None
    keep: bool

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        x = inputs[0]
        axes = tuple(range(2, x.ndim)) if self.axes is None else tuple(axis % x.ndim for axis in self.axes)
        if 0 in axes:
            raise GraphError(f"node '{self.name}': a mean over axis 0 mixes samples")
        return x.mean(axes, keepdims=self.keep), (x.shape, axes)

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        shape, axes = cache
        count = int(np.prod([shape[axis] for axis in axes]))
        error = dy.reshape([1 if axis in axes else size for axis, size in enumerate(shape)])
        return [np.broadcast_to(error / count, shape)]


@dataclass(frozen=True)
class Reshape(Op):
    """The dimensions after the sample become `shape` (ONNX: 0 keeps a size, -1 is inferred)."""

    shape: tuple[int, ...]

    def forward(self, inputs: list[Array], layer: Layer | None) -> tuple[Array, Any]:
        x = inputs[0]
        sizes = [x.shape[axis + 1] if size == 0 else size for axis, size in enumerate(self.shape)]
        return x.reshape(len(x), *sizes), x.shape

    def backward(self, dy: Array, cache: Any, layer: Layer | None) -> list[Array]:
        return [dy.reshape(cache)]
