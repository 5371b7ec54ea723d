"""Single operators of random networks: whatever the compiler says it supports, in the forms that exporters write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from frontend_graphs import Builder

MOST_ELEMENTS = 1600  # of a tensor
MOST_WEIGHTS = 1500
MOST_MACS = 120_000  # of a layer
MOST_CHANNELS = 24


class Layers:
    """Appends operators to a graph; `x` is the current tensor, (1, *shape), shape = (channels, *spatial).

    `plain` leaves out what onnxruntime's quantiser leaves in float. A method that finds no room appends nothing.
    """

    def __init__(self, rng: np.random.Generator, *, plain: bool) -> None:
        self.rng, self.plain = rng, plain
        self.b = Builder(int(rng.choice([13, 17, 17, 20])), int(rng.integers(2**31)))
        rank = 1 if self.chance(0.25) else 2
        size = (9, 33) if rank == 1 else (5, 14)
        self.shape = [self.pick(1, 4), *(self.pick(*size) for _ in range(rank))]
        if self.chance(0.1):
            self.shape[1:] = [self.pick(1, 3) for _ in range(rank)]
        self.x = "x"
        self.earlier: list[tuple[str, list[int]]] = []

    # ---- drawing -----------------------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, low: int, high: int) -> int:
        """low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def some(self, low: int, high: int, n: int) -> list[int]:
        return [self.pick(low, high) for _ in range(n)]

    def one(self, choices: Sequence[Any]) -> Any:
        return choices[self.pick(0, len(choices) - 1)]

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return len(self.shape) - 1

    def remember(self) -> None:
        """The current tensor may be read again."""
        if self.x != "x":
            self.earlier.append((self.x, list(self.shape)))

    def twins(self) -> list[str]:
        """Earlier tensors of the current shape."""
        return [name for name, shape in self.earlier if shape == self.shape]

    # ---- convolutions ------------------------------------------------------------------------------------------------

    def conv(self) -> None:
        """Dense, depthwise or grouped; any kernel, stride, dilation and padding that fits; what may follow it."""
        n, c = self.rank, self.shape[0]
        k = [self.one([1, 2, 3, 3, 4, 5, 7]) for _ in range(n)]
        s, d, p = self.some(1, 2, n), self.some(1, 3, n), self.some(0, 3, 2 * n)
        if self.chance(0.6) or np.prod(self.shape[1:]) < 30:
            s = [1] * n
        group = self.one([1, 1, 1, c, c, self.one([g for g in range(1, c + 1) if c % g == 0])])
        out = c if group == c and self.chance(0.7) else group * self.pick(1, max(1, 14 // group))
        if self.chance(0.25):
            self.convolve(out, k, s, group=group, auto=self.one(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        else:
            self.convolve(out, k, s, d, p, group)
        self.decorate()

    def convolve(
        self,
        out: int,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        dilation: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        group: int = 1,
        auto: str | None = None,
    ) -> bool:
        """A Conv, without what may follow it; whether there was room. No `pads`: those that keep the size, if odd."""
        n, c = self.rank, self.shape[0]
        s, d = list(stride or [1] * n), list(dilation or [1] * n)
        extent = [(kernel[i] - 1) * d[i] + 1 for i in range(n)]
        p = list(pads) if pads is not None else [(e - 1) // 2 for e in extent] + [e // 2 for e in extent]
        size = [(self.shape[1 + i] + p[i] + p[n + i] - extent[i]) // s[i] + 1 for i in range(n)]
        if auto is not None:
            d = [1] * n
            size = [-(-(self.shape[1 + i] - (kernel[i] - 1 if auto == "VALID" else 0)) // s[i]) for i in range(n)]
        weights = out * (c // group) * int(np.prod(kernel))
        if min(size) < 1 or out > MOST_CHANNELS or weights > MOST_WEIGHTS or not self.fits([out, *size]):
            return False
        if weights * np.prod(size) > MOST_MACS:
            return False
        inputs = [self.x, self.weight(out, c // group, *kernel)]
        if self.chance(0.75):
            inputs.append(self.b.random(out, scale=0.3))
        spread = d if max(d) > 1 or self.chance(0.8) else None  # may be left out
        self.x = self.b.node(
            "Conv", *inputs, kernel_shape=list(kernel), strides=s, dilations=spread, group=group, auto_pad=auto,
            pads=None if auto else p,
        )  # fmt: skip
        self.shape = [out, *size]
        return True

    def weight(self, out: int, *rest: int) -> str:
        """Normal weights; now and then a dead, a tiny or a huge output channel."""
        value = self.b.rng.standard_normal((out, *rest)) * (1.5 / int(np.prod(rest))) ** 0.5
        if self.chance(0.15):
            value[self.pick(0, out - 1)] *= self.one([0.0, 1e-9, 1e-4, 0.01, 20.0])
        return self.b.const(value)

    def fits(self, shape: Sequence[int]) -> bool:
        return int(np.prod(shape)) <= MOST_ELEMENTS

    def decorate(self) -> None:
        """BatchNormalization, an activation, both or none."""
        if not self.plain and self.chance(0.4):
            self.batch_norm()
        if self.chance(0.6):
            self.activation()

    # ---- elementwise -------------------------------------------------------------------------------------------------

    def batch_norm(self) -> None:
        c = self.shape[0]
        gamma = self.b.rng.uniform(0.5, 1.5, c) * self.b.rng.choice([1, 1, 1, -1], c)
        if self.chance(0.1):
            gamma[self.pick(0, c - 1)] = self.one([0.0, 1e-10, 1e-5])
        var = self.b.const(self.b.rng.uniform(0.3, 2, c))
        beta, mean = self.b.random(c, scale=0.4), self.b.random(c, scale=0.4)
        self.x = self.b.node("BatchNormalization", self.x, self.b.const(gamma), beta, mean, var, epsilon=1e-3)

    def activation(self) -> None:
        b, kind = self.b, self.one(["Relu"] * 3 + ["Clip"] * 3 + ["Min", "Max", "LeakyRelu"])
        if self.plain and kind in ("Min", "Max"):
            kind = "Clip"
        if kind == "Relu":
            self.x = b.node("Relu", self.x)
        elif kind == "LeakyRelu":
            self.x = b.node("LeakyRelu", self.x, alpha=self.one([0.01, 0.1, 0.3, 1.0]))
        elif kind == "Clip":
            low, high = self.one([(0.0, 6.0), (-0.5, 0.7), (0.0, 1.0), (None, 0.7), (-0.25, None), (-1.0, 0.0)])
            limits = [b.const(low) if low is not None else "", b.const(high) if high is not None else ""]
            self.x = b.node("Clip", self.x, *(limits if limits[1] else limits[:1]))
        else:
            operands = [self.x, b.const(self.one([0.7, 2.0] if kind == "Min" else [-0.25, 0.0]))]
            self.x = b.node(kind, *(operands if self.chance(0.7) else operands[::-1]))

    def constant(self) -> None:
        """Mul, Sub, Div or Add by a constant: a scalar, one a channel, one a column."""
        if self.plain:
            return
        op, c = self.one(["Add", "Sub", "Mul", "Div"]), self.shape[0]
        dims = self.one([(), (1,), (c, *[1] * self.rank), (1, c, *[1] * self.rank)])
        value = self.b.const(self.b.rng.uniform(0.5, 2, dims) * self.one([1, 1, -1]))
        swap = op != "Div" and self.chance(0.3)
        self.x = self.b.node(op, *((value, self.x) if swap else (self.x, value)))

    def residual(self) -> None:
        """Add of an earlier tensor of this shape, or behind a convolution that keeps the shape."""
        if self.x == "x":
            return
        before, same = self.x, self.twins()
        if not same or self.chance(0.5):
            if not self.convolve(self.shape[0], [3] * self.rank, group=self.one([1, self.shape[0]])):
                return
            same = [before]
        other = self.one(same)
        self.x = self.b.node("Add", *((self.x, other) if self.chance(0.5) else (other, self.x)))
        if self.chance(0.4):
            self.activation()

    def concat(self) -> None:
        """Of earlier tensors (or of itself, twice) along the channels, the rows or the columns."""
        if self.x == "x":
            return
        axis = self.one([0, 0, *range(self.rank + 1)])
        off = [(n, s) for n, s in self.earlier if self._off_axis(s, axis) == self._off_axis(self.shape, axis)]
        parts = [(self.x, self.shape), *(self.one(off or [(self.x, self.shape)]) for _ in range(self.pick(1, 2)))]
        if len({name for name, _ in parts}) < 2 and self.chance(0.8):
            return
        total = sum(shape[axis] for _, shape in parts)
        joined = [total if i == axis else size for i, size in enumerate(self.shape)]
        if self.fits(joined) and joined[0] <= MOST_CHANNELS:
            names = [parts[i][0] for i in self.rng.permutation(len(parts))]
            where = axis + 1 if self.chance(0.7) else axis - self.rank - 1
            self.x, self.shape = self.b.node("Concat", *names, axis=where), joined

    @staticmethod
    def _off_axis(shape: list[int], axis: int) -> tuple[int, list[int]]:
        return len(shape), shape[:axis] + shape[axis + 1 :]

    # ---- windows -----------------------------------------------------------------------------------------------------

    def pool(self) -> None:
        n, op = self.rank, self.one(["MaxPool", "AveragePool"])
        k, s = self.some(1, 4, n), self.some(1, 3, n)
        p = [self.pick(0, k[i % n] - 1) if self.chance(0.5) else 0 for i in range(2 * n)]
        ceil = int(op == "MaxPool" and self.chance(0.3))
        size = []
        for i in range(n):
            room = self.shape[1 + i] + p[i] + p[n + i] - k[i]
            size.append((-(-room // s[i]) if ceil else room // s[i]) + 1)
            if room < 0 or (size[-1] - 1) * s[i] >= self.shape[1 + i] + p[i]:
                return  # no window, or one behind the data
        include = self.pick(0, 1) if op == "AveragePool" else None
        mode = ceil if op == "MaxPool" else None
        self.x = self.b.node(op, self.x, kernel_shape=k, strides=s, pads=p, ceil_mode=mode, count_include_pad=include)
        self.shape[1:] = size

    def squeeze_map(self, op: str | None = None, keep: int = 1) -> None:
        """A mean or a maximum over the whole map."""
        op = op or self.one(["GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"])
        if self.plain and op != "GlobalAveragePool":
            op = "GlobalAveragePool"
        axes = list(range(2, self.rank + 2))
        if op != "ReduceMean":
            self.x = self.b.node(op, self.x)
        elif self.b.opset >= 18:
            self.x = self.b.node(op, self.x, self.b.const(axes, "i8"), keepdims=keep)
        else:
            self.x = self.b.node(
                op, self.x, axes=axes if self.chance(0.5) else [a - self.rank - 2 for a in axes], keepdims=keep
            )
        self.shape[1:] = [1] * self.rank

    def pad(self) -> None:
        n = self.rank
        amounts = [0, 0, *self.some(0, 2, n), 0, 0, *self.some(0, 2, n)]
        size = [self.shape[1 + i] + amounts[2 + i] + amounts[4 + n + i] for i in range(n)]
        if not self.fits([self.shape[0], *size]):
            return
        value = [self.b.const(self.one([0.0, 0.0, 0.5, -0.3]))] if self.chance(0.7) else []
        self.x = self.b.node("Pad", self.x, self.b.const(amounts, "i8"), *value)
        self.shape[1:] = size

    # ---- layout ------------------------------------------------------------------------------------------------------

    def transpose(self) -> None:
        """Any order of the axes behind the batch."""
        order = [int(a) for a in self.rng.permutation(self.rank + 1)]
        if self.shape[order[0]] > MOST_CHANNELS:
            return
        self.x = self.b.node("Transpose", self.x, perm=[0, *(a + 1 for a in order)])
        self.shape = [self.shape[a] for a in order]

    def reshape(self) -> None:
        """Another number of channels, rows and columns."""
        c, *rest = self.shape
        fitting = [d for d in range(1, MOST_CHANNELS + 1) if c * int(np.prod(rest)) % d == 0]
        channels = self.one(fitting)
        size = c * int(np.prod(rest)) // channels
        rows = self.one([d for d in range(1, size + 1) if size % d == 0])
        dims = [1, channels, *([size] if self.rank == 1 else [rows, size // rows])]
        if self.chance(0.5):
            dims[-1] = -1
        self.x = self.b.node("Reshape", self.x, self.b.const(dims, "i8"))
        self.shape = [channels, *([size] if self.rank == 1 else [rows, size // rows])]

    def rename(self) -> None:
        """Identity or Dropout."""
        self.x = self.b.node(self.one(["Identity", "Dropout"]), self.x)

    def wrinkle(self) -> None:
        """Unsqueeze, perhaps something, Squeeze; from one spatial axis to two and back."""
        axis = self.b.const([self.one([2, -1]) if self.rank == 1 else 2], "i8")
        y = self.b.node("Unsqueeze", self.x, axis)
        if self.chance(0.6):
            y = self.b.node("Relu", y)
        self.x = self.b.node("Squeeze", y, axis)

    def channels_last(self) -> None:
        """An island as other frameworks' converters write it: Transpose, something, Transpose."""
        n, c = self.rank, self.shape[0]
        there, back = [0, *range(2, n + 2), 1], [0, n + 1, *range(1, n + 1)]
        y = self.b.node("Transpose", self.x, perm=there)
        kind = self.one(["Relu", "LeakyRelu", "Add", "MatMul"])
        if kind in ("Relu", "LeakyRelu") or self.plain:
            y = self.b.node("Relu" if kind != "LeakyRelu" else kind, y)
        elif kind == "Add":
            y = self.b.node("Add", y, self.b.random(c, scale=0.5))
        else:
            out = self.pick(1, 6)
            y = self.b.node("MatMul", y, self.b.random(c, out, scale=1 / np.sqrt(c)))
            y = self.b.node("Add", self.b.random(out, scale=0.3), y)
            self.shape[0] = out
        self.x = self.b.node("Transpose", y, perm=back)
