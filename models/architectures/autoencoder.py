"""The autoencoder of MLPerf Tiny for anomaly detection: a machine sound that it cannot reproduce is suspect."""

from __future__ import annotations

import onnx

from models.architectures.net import Net, check_count, scaled

HIDDEN = 128
LAYERS = 4  # hidden layers on each side of the bottleneck


def autoencoder(width: float = 1.0, inputs: int = 640, bottleneck: int = 8, seed: int = 0) -> onnx.ModelProto:
    """`input` float32 (N, inputs), standardised -> `logits` (N, inputs), trained with MSE. Raises McugradError."""
    for what, count in (("inputs", inputs), ("bottleneck", bottleneck)):
        check_count(what, count, 1)
    net, hidden = Net("fcae", seed), scaled(HIDDEN, width)
    x = net.input("input", (inputs,), mean=0.0, variance=1.0)
    for features in (*(hidden,) * LAYERS, bottleneck, *(hidden,) * LAYERS):
        x = net.relu(net.gemm(x, features))
    return net.model(
        net.gemm(x, inputs), f"autoencoder, width {width:g}, {inputs} inputs, fresh weights of seed {seed}"
    )
