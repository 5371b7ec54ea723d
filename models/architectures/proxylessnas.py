"""ProxylessNAS-mobile, without its last 1x1 convolution of 1280 channels."""

from __future__ import annotations

import math

import onnx

from models.architectures.inverted_residual import Block, network
from models.architectures.net import check_width

STEM = 32
BLOCKS = (
    Block(1, 3, 16, 1),
    *(Block(3, 5, 32, 2), Block(3, 3, 32, 1)),
    *(Block(3, 7, 40, 2), Block(3, 3, 40, 1), Block(3, 5, 40, 1), Block(3, 5, 40, 1)),
    *(Block(6, 7, 80, 2), Block(3, 5, 80, 1), Block(3, 5, 80, 1), Block(3, 5, 80, 1)),
    *(Block(6, 5, 96, 1), Block(3, 5, 96, 1), Block(3, 5, 96, 1), Block(3, 5, 96, 1)),
    *(Block(6, 7, 192, 2), Block(6, 7, 192, 1), Block(3, 7, 192, 1), Block(3, 7, 192, 1)),
    Block(6, 7, 320, 1),
)


def proxylessnas(width: float = 0.3, resolution: int = 128, classes: int = 1000, seed: int = 0) -> onnx.ModelProto:
    """`image` (N, 3, resolution, resolution) -> `logits` (N, classes). Raises McugradError."""
    blocks = [Block(b.ratio, b.kernel, _scaled_up(b.channels, width), b.stride) for b in BLOCKS]
    description = (
        f"proxylessnas, width {width:g}, resolution {resolution}, {classes} classes, fresh weights of seed {seed}"
    )
    return network(f"proxyless-w{width:g}", _scaled_up(STEM, width), blocks, resolution, classes, seed, description)


def _scaled_up(channels: int, width: float) -> int:
    """`channels * width` rounded up to a multiple of 8: this network's own rule (192 * 0.3 = 57.6 is 64, not 56)."""
    # The small number is for products such as 40 * 0.6 that floats leave just above a multiple.
    return max(8, math.ceil(channels * check_width(width) / 8 - 1e-9) * 8)
