"""What is benchmarked as a whole: published networks with their schemes, and the watch; each compiled for a board."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcugrad.pipeline import Input, Loss, Options, compile_file

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("MCUGRAD_SHARED", ROOT.parent / "shared")) / "models"
BOARDS = ("mps2-an386", "mps2-an500")
BUDGET_BOARD = "mps2-an386"  # the C is the same for both


@dataclass(frozen=True)
class Network:
    """`path` with `classes` fresh classes (None keeps what it has). `scheme`: a file of models/schemes or a word of
    `--train`."""

    name: str
    path: Path
    scheme: str
    classes: int | None = None
    loss: Loss = "cross_entropy"
    input: Input = "resident"

    def compile(self, folder: Path) -> None:
        """Write the folder of C. Calibration is random: arithmetic is counted and compared here, not accuracy."""
        assert self.path.is_file(), f"{self.path} is missing: set MCUGRAD_SHARED to the folder that holds models/"
        data = None if self.path.name.endswith(".int8.onnx") else self._calibration(folder)
        file = ROOT / "models" / "schemes" / f"{self.scheme}.toml"
        train = str(file) if file.is_file() else self.scheme
        options = Options(BUDGET_BOARD, data, train, self.classes, self.loss, self.input)
        compile_file(self.path, folder, options, ["tests.bench.networks", self.name])

    def _calibration(self, folder: Path) -> Path:
        from mcugrad.frontend import load_model

        dims = [d.dim_value for d in load_model(self.path).graph.input[0].type.tensor_type.shape.dim]
        path = folder.with_name(f"{folder.name}-calibration.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, x=np.random.default_rng(0).random((8, *dims[1:]), np.float32))
        return path


def _published(file: str, scheme: str, classes: int | None = 10, loss: Loss = "cross_entropy") -> Network:
    return Network(scheme, SHARED / f"{file}.onnx", scheme, classes, loss)


def _pushed(network: Network) -> Network:
    return Network(
        f"{network.name}, pushed", network.path, network.scheme, network.classes, network.loss, input="pushed"
    )


VISION = (
    _published("mcunet-5fps.int8", "mcunet-49kb"),
    _published("mobilenetv2-w0.35.int8", "mobilenetv2-w0.35"),
    _published("proxylessnas-w0.3.int8", "proxylessnas-w0.3"),
)
PUBLISHED = (
    *VISION,
    _published("mobilenetv1-0.25-vww96.float", "vww"),
    _published("dscnn-kws.float", "kws", 12),
    _published("autoencoder-ad.float", "autoencoder", None, "mse"),
)
PUSHED = tuple(_pushed(network) for network in VISION)
WATCH = Network("watch", ROOT / "models" / "watch" / "watch-unseen-2.onnx", "all")
GUARDED = (*PUBLISHED, WATCH)  # whose instructions the tests hold to tests/bench/instructions.json
