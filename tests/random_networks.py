"""Random float networks of 5 to 30 operators, with the blocks that published architectures are made of."""

from __future__ import annotations

import numpy as np
import onnx

from random_layers import MOST_CHANNELS, Layers


class _Network(Layers):
    """Draws blocks one after the other, then an end."""

    def build(self) -> onnx.ModelProto:
        input_shape = (1, *self.shape)
        if not self.plain and self.chance(0.1):
            self.one([self.activation, self.pad, self.batch_norm, self.transpose, self.pool])()
        while not self.convolve(self.pick(1, 8), [self.pick(1, 3) for _ in range(self.rank)]):
            pass
        self.decorate()
        most = self.pick(5, 30) - 4
        steps = [self.conv] * 5 + [self.pool, self.pool, self.activation, self.pad, self.transpose, self.reshape]
        steps += [self.residual, self.residual, self.concat, self.concat, self.inverted, self.basic, self.inception]
        steps += [self.rename, self.constant, self.separable, self.causal]
        steps += [self.wrinkle, self.channels_last]
        if not self.plain:
            steps += [self.batch_norm, self.shuffle, *[self.constant] * 4]
        if self.chance(0.1):
            steps.append(self.squeeze_map)
        while len(self.b.nodes) < most:
            self.remember()
            self.one(steps)()
        return self.b.model(input_shape, self.end())

    # ---- blocks ------------------------------------------------------------------------------------------------------

    def block_end(self, before: tuple[str, list[int]]) -> None:
        """The sum with what the block began with, where it fits."""
        name, shape = before
        if shape == self.shape and name not in ("x", self.x):
            self.x = self.b.node("Add", self.x, name) if self.chance(0.5) else self.b.node("Add", name, self.x)

    def bounded(self) -> None:
        """BatchNormalization and ReLU or ReLU6."""
        if not self.plain and self.chance(0.5):
            self.batch_norm()
        self.x = (
            self.b.node("Clip", self.x, self.b.const(0.0), self.b.const(6.0))
            if self.chance(0.7)
            else self.b.node("Relu", self.x)
        )

    def inverted(self) -> None:
        """MobileNetV2: expand, depthwise, project, sum."""
        n, before = self.rank, (self.x, list(self.shape))
        wide = self.shape[0] * self.pick(2, 4)
        if wide > MOST_CHANNELS or not self.convolve(wide, [1] * n):
            return
        self.bounded()
        if self.convolve(wide, [self.one([3, 5])] * n, [self.one([1, 1, 2])] * n, group=wide):
            self.bounded()
        self.convolve(before[1][0] if self.chance(0.7) else self.pick(1, 10), [1] * n)
        if not self.plain and self.chance(0.5):
            self.batch_norm()
        self.block_end(before)

    def separable(self) -> None:
        """DS-CNN and MobileNetV1: depthwise, pointwise, each with its activation."""
        n = self.rank
        if self.convolve(self.shape[0], [3] * n, [self.one([1, 2])] * n, group=self.shape[0]):
            self.bounded()
        if self.convolve(self.pick(1, 16), [1] * n):
            self.bounded()

    def basic(self) -> None:
        """ResNet: two convolutions, and a shortcut that is a strided 1x1 convolution where the shape changes."""
        n, (start, shape) = self.rank, (self.x, list(self.shape))
        stride, out = [self.one([1, 2])] * n, self.one([shape[0], self.pick(1, 10)])
        if not self.convolve(out, [3] * n, stride, pads=[1] * 2 * n):
            return
        self.bounded()
        self.convolve(out, [3] * n, pads=[1] * 2 * n)
        main, after = self.x, list(self.shape)
        self.x, self.shape = start, shape
        if shape != after or self.chance(0.2):
            self.convolve(out, [1] * n, stride, pads=[0] * 2 * n)
        if self.x == "x" or self.shape != after:
            self.x, self.shape = main, after
            return
        self.x, self.shape = self.b.node("Add", main, self.x), after
        self.x = self.b.node("Relu", self.x)

    def inception(self) -> None:
        """Branches from one tensor, joined along the channels."""
        n, start, shape = self.rank, self.x, list(self.shape)
        if start == "x":
            return
        joined: list[tuple[str, int]] = []
        for kind in self.rng.permutation(4)[: self.pick(2, 4)]:
            self.x, self.shape = start, list(shape)
            if kind == 3:
                op = self.one(["MaxPool", "AveragePool"])
                self.x = self.b.node(op, self.x, kernel_shape=[3] * n, strides=[1] * n, pads=[1] * 2 * n)
            elif not self.convolve(self.pick(1, 6), [1] * n):
                continue
            if kind in (1, 2):
                self.bounded()
                self.convolve(self.pick(1, 6), [3 if kind == 1 else 5] * n)
            joined.append((self.x, self.shape[0]))
        self.x, self.shape = start, shape
        channels = sum(c for _, c in joined)
        if len(joined) > 1 and channels <= MOST_CHANNELS and self.fits([channels, *shape[1:]]):
            self.x, self.shape = self.b.node("Concat", *(name for name, _ in joined), axis=1), [channels, *shape[1:]]
        elif joined:
            self.x, self.shape = joined[0][0], [joined[0][1], *shape[1:]]

    def causal(self) -> None:
        """TCN: dilated convolutions along the last axis, padded on the left alone, and a sum."""
        n, before = self.rank, (self.x, list(self.shape))
        for dilation in (1, 2, 4)[: self.pick(1, 3)]:
            k = self.one([2, 3])
            left = [0] * (n - 1) + [(k - 1) * dilation]
            kernel = [1] * (n - 1) + [k]
            if self.convolve(before[1][0], kernel, None, [1] * (n - 1) + [dilation], [*left, *[0] * n]):
                self.bounded()
        self.block_end(before)

    def shuffle(self) -> None:
        """ShuffleNet: the channels of every group spread over all groups."""
        c, *size = self.shape
        groups = [g for g in range(2, c) if c % g == 0]
        if not groups:
            return
        g = self.one(groups)
        split, whole = (self.b.const([1, *dims, *size], "i8") for dims in ((g, c // g), (c,)))
        y = self.b.node("Reshape", self.x, split)
        y = self.b.node("Transpose", y, perm=[0, 2, 1, *range(3, self.rank + 3)])
        self.x = self.b.node("Reshape", y, whole)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> str:
        """Features, hidden layers, the classifier, perhaps a softmax."""
        kind, b = self.pick(0, 5), self.b
        if kind == 0 and self.convolve(self.pick(2, 6), [1] * self.rank):  # SqueezeNet's
            self.squeeze_map()
            return b.node("Flatten", self.x)
        if kind == 1:
            self.squeeze_map()
            if self.convolve(self.pick(2, 6), [1] * self.rank):  # a classifier that is a convolution
                return b.node("Reshape", self.x, b.const([1, -1], "i8"))
        elif kind <= 3 or self.shape[0] * np.prod(self.shape[1:]) > 400:
            self.squeeze_map()
        elif kind == 4:
            self.x = b.node("Transpose", self.x, perm=[0, *range(2, self.rank + 2), 1])
        features = int(np.prod(self.shape))
        y = b.node("Flatten", self.x) if self.chance(0.5) else b.node("Reshape", self.x, b.const([0, -1], "i8"))
        for _ in range(self.one([0, 0, 0, 1, 2])):
            wide = self.pick(1, 12)
            y = b.node("Relu", self.dense(y, features, wide))
            features = wide
        y = self.dense(y, features, self.pick(2, 6))
        if self.chance(0.3):
            y = b.node(self.one(["Softmax", "LogSoftmax"]), y, axis=self.one([1, -1]))
        return y

    def dense(self, y: str, features: int, out: int) -> str:
        """Gemm or MatMul with or without bias."""
        b, trans = self.b, self.pick(0, 1)
        scale = 1 / np.sqrt(features)
        if self.chance(0.7):
            weight = b.random(*((out, features) if trans else (features, out)), scale=scale)
            bias = [b.random(out, scale=0.3)] if self.chance(0.8) else []
            return b.node("Gemm", y, weight, *bias, transB=trans)
        y = b.node("MatMul", y, b.random(features, out, scale=scale))
        return b.node("Add", y, b.random(out, scale=0.3)) if not self.plain and self.chance(0.6) else y


def network(seed: int, *, plain: bool = True) -> onnx.ModelProto:
    """The float network of `seed`, input x, batch 1; `plain`: for onnxruntime's quantiser as it is."""
    return _Network(np.random.default_rng(seed), plain=plain).build()
