"""MobileNetV2 without its last 1x1 convolution of 1280 channels, as the reference of training under 256 KB uses it."""

from __future__ import annotations

import onnx

from models.architectures.inverted_residual import Block, network
from models.architectures.net import scaled

STEM = 32
STAGES = (  # ratio, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenetv2(width: float = 0.35, resolution: int = 128, classes: int = 1000, seed: int = 0) -> onnx.ModelProto:
    """`image` (N, 3, resolution, resolution) -> `logits` (N, classes). Raises McugradError."""
    blocks = [
        Block(ratio, 3, scaled(channels, width), stride if index == 0 else 1)
        for ratio, channels, count, stride in STAGES
        for index in range(count)
    ]
    description = (
        f"mobilenetv2, width {width:g}, resolution {resolution}, {classes} classes, fresh weights of seed {seed}"
    )
    return network(f"mbv2-w{width:g}", scaled(STEM, width), blocks, resolution, classes, seed, description)
