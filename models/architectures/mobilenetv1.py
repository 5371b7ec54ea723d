"""MobileNetV1, as MLPerf Tiny uses it for visual wake words: is a person in the picture?"""

from __future__ import annotations

import onnx

from models.architectures.inverted_residual import LEAST_RESOLUTION
from models.architectures.net import Net, check_count, scaled

STEM = 32
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)  # channels, stride


def mobilenetv1(width: float = 0.25, resolution: int = 96, classes: int = 2, seed: int = 0) -> onnx.ModelProto:
    """`input` float32 (N, 3, resolution, resolution), x/255 -> `logits` (N, classes). Raises McugradError."""
    check_count("resolution", resolution, LEAST_RESOLUTION)
    check_count("classes", classes, 1)
    net = Net(f"mobilenetv1-w{width:g}-{resolution}", seed)
    x = net.input("input", (3, resolution, resolution), mean=0.45, variance=0.0625)
    x = net.relu(net.conv(x, scaled(STEM, width), (3, 3), 2))
    for channels, stride in BLOCKS:
        x = net.relu(net.conv(x, x.shape[0], (3, 3), stride, depthwise=True))
        x = net.relu(net.conv(x, scaled(channels, width), (1, 1)))
    x = net.gemm(net.flatten(net.global_average_pool(x)), classes)
    return net.model(
        x, f"mobilenetv1, width {width:g}, resolution {resolution}, {classes} classes, fresh weights of seed {seed}"
    )
