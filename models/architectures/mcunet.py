"""MCUNet-5fps: found by TinyNAS for 5 frames a second on a Cortex-M7 ("MCUNet: Tiny Deep Learning on IoT Devices")."""

from __future__ import annotations

import onnx

from models.architectures.inverted_residual import Block, network
from models.architectures.net import scaled

STEM = 16
BLOCKS = (
    Block(1, 3, 8, 1),
    *(Block(4, 3, 16, 2), Block(3, 3, 16, 1)),
    *(Block(3, 7, 24, 2), Block(5, 3, 24, 1)),
    *(Block(5, 3, 40, 2), Block(4, 7, 40, 1)),
    *(Block(4, 5, 48, 1), Block(3, 3, 48, 1), Block(4, 3, 48, 1)),
    *(Block(5, 7, 96, 2), Block(4, 5, 96, 1), Block(4, 5, 96, 1)),
    Block(6, 3, 160, 1),
)


def mcunet(width: float = 1.0, resolution: int = 128, classes: int = 1000, seed: int = 0) -> onnx.ModelProto:
    """`image` (N, 3, resolution, resolution) -> `logits` (N, classes). Raises McugradError."""
    blocks = [Block(b.ratio, b.kernel, scaled(b.channels, width), b.stride) for b in BLOCKS]
    description = f"mcunet, width {width:g}, resolution {resolution}, {classes} classes, fresh weights of seed {seed}"
    return network("mcunet-5fps", scaled(STEM, width), blocks, resolution, classes, seed, description)
