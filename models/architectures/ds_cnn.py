"""DS-CNN, as MLPerf Tiny uses it for keyword spotting."""

from __future__ import annotations

import onnx

from models.architectures.net import Net, check_count, scaled

CHANNELS = 64
BLOCKS = 4


def ds_cnn(
    width: float = 1.0, frames: int = 49, coefficients: int = 10, classes: int = 12, seed: int = 0
) -> onnx.ModelProto:
    """`input` float32 (N, 1, frames, coefficients), MFCC -> `logits` (N, classes). Raises McugradError."""
    for what, count in (("frames", frames), ("coefficients", coefficients), ("classes", classes)):
        check_count(what, count, 1)
    net, channels = Net("dscnn", seed), scaled(CHANNELS, width)
    # The variance is that of the MFCC of speech at this scale; the mean is small beside it.
    x = net.input("input", (1, frames, coefficients), mean=0.0, variance=72.0)
    x = net.relu(net.conv(x, channels, (10, 4), 2))
    for _ in range(BLOCKS):
        x = net.relu(net.conv(x, channels, (3, 3), depthwise=True))
        x = net.relu(net.conv(x, channels, (1, 1)))
    x = net.gemm(net.flatten(net.global_average_pool(x)), classes)
    return net.model(
        x, f"ds-cnn, width {width:g}, {frames}x{coefficients}, {classes} classes, fresh weights of seed {seed}"
    )
