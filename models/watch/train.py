"""Train the watch's network in float32 on every subject but one, and write it as ONNX (needs the extra `torch`).

    python -m models.watch.train                          the two models of this folder
    python -m models.watch.train --validate --output DIR  eight stand-in wearers, each unseen by a model that knows
                                                          neither subject 2 nor 10: for choosing hyper-parameters

The same seed gives the same weights on the same machine and PyTorch (one thread, deterministic algorithms).
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from models.watch import data

EPOCHS = 20
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
OPSET = 17


class Block(nn.Module):
    """x + conv2(relu(conv1(x))), batch-normalised, then relu: (n, channels, t) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(inner)))


class WatchNet(nn.Module):
    """(n, 6, 100) -> (n, 7) logits; 9.7 k parameters, 172 k multiply-accumulates."""

    def __init__(self, classes: int = len(data.EXERCISES)) -> None:
        super().__init__()
        self.stem = nn.Conv1d(len(data.CHANNELS), 16, 7, stride=2, padding=3, bias=False)  # t: 100 -> 50
        self.stem_norm = nn.BatchNorm1d(16)
        self.down = nn.Conv1d(16, 32, 5, stride=2, padding=2, bias=False)  # 50 -> 25
        self.down_norm = nn.BatchNorm1d(32)
        self.pool = nn.MaxPool1d(2)  # 25 -> 12
        self.block = Block(32)
        self.mean = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = self.pool(torch.relu(self.down_norm(self.down(x))))
        logits: Tensor = self.head(torch.flatten(self.mean(self.block(x)), 1))
        return logits


def train(x: data.Floats, y: data.Labels, seed: int, epochs: int = EPOCHS) -> WatchNet:
    """Adam with a cosine rate on x float32 (n, 6, 100), y int64 (n,); returns the network in evaluation mode."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the order of float additions must not depend on the machine's cores
    net = WatchNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    batches = len(y) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        for chosen in torch.randperm(len(y))[: batches * BATCH].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    return net


def export(net: WatchNet, path: Path) -> None:
    """Write `net` as ONNX opset 17 with the batch as the only dynamic dimension and readable node and tensor names."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the TorchScript exporter is chosen on purpose
        torch.onnx.export(
            net,
            (torch.zeros(1, len(data.CHANNELS), data.WINDOW),),
            buffer,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    _rename(model.graph)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, path)


def _rename(graph: onnx.GraphProto) -> None:
    """Nodes take their module's name (stem, block.conv1), a Relu that of what it follows (stem.relu); so do tensors."""
    tensors: dict[str, str] = {}
    producer: dict[str, str] = {}
    final = graph.output[0].name
    for node in graph.node:
        parts = [part for part in node.name.split("/") if part][:-1]  # /block/conv1/Conv: the last part is the operator
        if node.op_type == "Relu":
            parts = [producer[node.input[0]], "relu"]
        elif node.op_type in ("Add", "Flatten"):
            parts.append(node.op_type.lower())
        node.name = ".".join(parts)
        producer[node.output[0]] = node.name
        for role, name in zip(("weight", "bias"), node.input[1:], strict=False):
            if node.op_type in ("Conv", "Gemm"):
                tensors[name] = f"{node.name}.{role}"
        if node.output[0] != final:
            tensors[node.output[0]] = f"{node.name}.out"
    for node in graph.node:
        node.input[:] = [tensors.get(name, name) for name in node.input]
        node.output[:] = [tensors.get(name, name) for name in node.output]
    for named in (*graph.initializer, *graph.value_info):
        named.name = tensors.get(named.name, named.name)


def accuracy(net: WatchNet, x: data.Floats, y: data.Labels) -> float:
    with torch.no_grad():
        return float((net(torch.from_numpy(x)).argmax(1).numpy() == y).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="train the watch's network for unseen subjects")
    parser.add_argument("--validate", action="store_true", help="stand-in wearers, without the two unseen subjects")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args(arguments)
    if options.validate and options.output == Path(__file__).parent:
        parser.error("--validate needs --output: its models do not belong in this folder")
    recordings = data.load_recordings()
    exclude = data.UNSEEN_SUBJECTS if options.validate else ()
    for subject in data.VALIDATION_SUBJECTS if options.validate else data.UNSEEN_SUBJECTS:
        x, y = data.others_windows(recordings, subject, exclude=exclude)
        net = train(x, y, options.seed, options.epochs)
        own = data.wearer_windows(recordings, subject, exclude=exclude)
        path = options.output / f"watch-unseen-{subject}.onnx"
        export(net, path)
        held = [f"{accuracy(net, *part):.3f}" for part in own]
        size = sum(int(np.prod(tensor.shape)) for tensor in net.parameters())
        print(
            f"{path.name}: {len(y)} windows, {size} parameters; accuracy {accuracy(net, x, y):.3f}, "
            f"wearer's two parts {' '.join(held)}"
        )


if __name__ == "__main__":
    main()
