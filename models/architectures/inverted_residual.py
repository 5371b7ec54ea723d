"""Networks of inverted residual blocks: stem, blocks b00, b01, ..., mean over positions, a 1x1 convolution as head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from models.architectures.net import Net, Tensor, check_count

LEAST_RESOLUTION = 32  # the strides multiply to 32: smaller images would leave less than one position


@dataclass(frozen=True)
class Block:
    """1x1 `expand` (left out for a ratio of 1), depthwise kernel x kernel, 1x1 `project` to `channels`."""

    ratio: int
    kernel: int
    channels: int
    stride: int


def network(
    name: str, stem: int, blocks: Sequence[Block], resolution: int, classes: int, seed: int, description: str
) -> onnx.ModelProto:
    """`image` float32 (N, 3, resolution, resolution), x/127.5 - 1 -> `logits` (N, classes). Raises McugradError."""
    check_count("resolution", resolution, LEAST_RESOLUTION)
    check_count("classes", classes, 1)
    net = Net(name, seed)
    x = net.input("image", (3, resolution, resolution), mean=0.0, variance=0.25)
    x = net.relu6(net.conv(x, stem, (3, 3), 2, layer="stem"), "stem")
    for index, block in enumerate(blocks):
        x = _block(net, x, block, f"b{index:02}")
    x = net.global_average_pool(x, "pool")
    x = net.conv(x, classes, (1, 1), layer="head")
    return net.model(net.flatten(x, "flatten"), description)


def _block(net: Net, x: Tensor, block: Block, name: str) -> Tensor:
    """The input is added where the shape stays: also where rounded channels happen to be equal, as in MobileNetV2."""
    y, kernel = x, (block.kernel, block.kernel)
    if block.ratio != 1:
        y = net.conv(y, x.shape[0] * block.ratio, (1, 1), layer=f"{name}.expand")
        y = net.relu6(y, f"{name}.expand")
    y = net.conv(y, y.shape[0], kernel, block.stride, depthwise=True, layer=f"{name}.depthwise")
    y = net.relu6(y, f"{name}.depthwise")
    y = net.conv(y, block.channels, (1, 1), layer=f"{name}.project")
    return net.add(x, y, f"{name}.add") if block.stride == 1 and y.shape == x.shape else y
