"""Networks of inverted bottlenecks: odd sizes, pads on any side, residuals with the operands either way round."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from frontend_graphs import Builder


class Bottlenecks:
    """The network of `seed`; `build` makes it."""

    def __init__(self, seed: int) -> None:
        self.rng, self.b = np.random.default_rng(seed), Builder(17, seed)
        self.shape = [self.pick(1, 4), self.pick(9, 21), self.pick(8, 19)]
        self.input_shape, self.x = (1, *self.shape), "x"

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def conv(self, out: int, kernel: list[int], stride: list[int], pads: list[int], **attrs: Any) -> str:
        inputs = self.shape[0] // attrs.get("group", 1)
        scale = 1.5 / np.sqrt(inputs * np.prod(kernel))
        weight, bias = self.b.random(out, inputs, *kernel, scale=scale), self.b.random(out, scale=0.3)
        self.x = self.b.node("Conv", self.x, weight, bias, kernel_shape=kernel, strides=stride, pads=pads, **attrs)
        sizes = [(self.shape[1 + i] + pads[i] + pads[2 + i] - kernel[i]) // stride[i] + 1 for i in (0, 1)]
        self.shape = [out, *sizes]
        return self.x

    def relu(self) -> None:
        self.x = self.b.node("Relu", self.x)

    def depthwise(self, stride: int) -> None:
        kernel = [self.pick(1, min(5, n)) for n in self.shape[1:]]
        pads = [self.pick(0, k - 1) for k in (*kernel, *kernel)]
        self.conv(self.shape[0], kernel, [stride, self.pick(1, 2)], pads, group=self.shape[0])
        self.relu()

    def block(self) -> None:
        entry, before = self.x, list(self.shape)
        self.conv(self.pick(2, 24), [1, 1], [1, 1], [0] * 4)
        self.relu()
        if self.pick(0, 2):
            self.depthwise(self.pick(1, 2) if min(self.shape[1:]) > 5 else 1)
            self.conv(self.pick(1, 9), [1, 1], [1, 1], [0] * 4)
        else:
            k = self.pick(1, 3)
            self.conv(self.shape[0], [k, k], [1, 1], [k // 2, k // 2, (k - 1) // 2, (k - 1) // 2], group=self.shape[0])
            self.conv(before[0], [1, 1], [1, 1], [0] * 4)
            self.x = self.b.node("Add", *((self.x, entry) if self.pick(0, 1) else (entry, self.x)))

    def build(self) -> onnx.ModelProto:
        self.conv(self.pick(2, 9), [3, 3], [self.pick(1, 2)] * 2, [self.pick(0, 2) for _ in range(4)])
        self.relu()
        if self.pick(0, 1):
            self.depthwise(1)
            self.conv(self.pick(1, 9), [1, 1], [1, 1], [0] * 4)
        for _ in range(self.pick(1, 4)):
            self.block()
        y = self.b.node("Flatten", self.b.node("GlobalAveragePool", self.x))
        y = self.b.node("Gemm", y, self.b.random(4, self.shape[0]), self.b.random(4), name="head", transB=1)
        return self.b.model(self.input_shape, y)
