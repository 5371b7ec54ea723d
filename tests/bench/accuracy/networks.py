"""The networks that are trained, and where they and the photographs lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("MCUGRAD_SHARED", ROOT.parent / "shared"))
WORK = ROOT / "build" / "accuracy"  # everything that can be made again
CLASSES = 10


@dataclass(frozen=True)
class Network:
    """`first`: the first layer that its scheme trains; everything before it is frozen and computed once."""

    name: str
    scheme: str
    first: str

    @property
    def int8(self) -> Path:
        return SHARED / "models" / f"{self.name}.int8.onnx"

    @property
    def float32(self) -> Path:
        return SHARED / "models" / f"{self.name}.float.onnx"

    @property
    def scheme_file(self) -> Path:
        return ROOT / "models" / "schemes" / f"{self.scheme}.toml"

    @property
    def work(self) -> Path:
        return WORK / self.name


NETWORKS = {
    network.name: network
    for network in (
        Network("mcunet-5fps", "mcunet-49kb", "b07.depthwise"),
        Network("mobilenetv2-w0.35", "mobilenetv2-w0.35", "b10.depthwise"),
        Network("proxylessnas-w0.3", "proxylessnas-w0.3", "b13.depthwise"),
    )
}
