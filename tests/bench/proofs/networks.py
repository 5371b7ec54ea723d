"""The published networks with their training schemes, and real samples for each."""

from __future__ import annotations

import functools
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcugrad.graph import Model
from mcugrad.pipeline import Loss, Options, head_type, import_file
from mcugrad.samples import quantize_samples
from mcugrad.scheme import Scheme, load_scheme

Array = npt.NDArray[Any]
ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("MCUGRAD_SHARED", ROOT.parent / "shared"))
CALIBRATION = 32  # samples by which a float network is quantised
TRAIN, VALIDATION, TEST = range(3)  # of the photographs' splits


@dataclass(frozen=True)
class Network:
    """`file`: of models/ in MCUGRAD_SHARED, without .onnx; `classes`: of the fresh classifier, None keeps what it has.

    `rate`: at which the network trains without diverging.
    """

    file: str
    scheme: str
    samples: str
    classes: int | None
    loss: Loss = "cross_entropy"
    rate: float = 0.01

    @property
    def path(self) -> Path:
        path = SHARED / "models" / f"{self.file}.onnx"
        assert path.is_file(), f"{path} is missing: set MCUGRAD_SHARED to the folder that holds models/ and data/"
        return path

    @property
    def scheme_file(self) -> Path:
        return ROOT / "models" / "schemes" / f"{self.scheme}.toml"

    def training_scheme(self, errors: str) -> Scheme:
        """The scheme with another type of the errors."""
        scheme = load_scheme(str(self.scheme_file))
        assert isinstance(scheme, Scheme)
        return Scheme.model_validate({**scheme.model_dump(), "errors": errors})

    def model(self, classes: int | None = None) -> Model:
        """The typed network; a float one is quantised with real samples."""
        with tempfile.TemporaryDirectory() as folder:
            data = None
            if self.file.endswith(".float"):
                data = Path(folder) / "calibration.npz"
                np.savez(data, x=self.draw(CALIBRATION, TRAIN)[0])
            options = Options("host", data, str(self.scheme_file), classes or self.classes, self.loss)
            head = head_type(load_scheme(str(self.scheme_file)), self.loss)
            return import_file(self.path, options, head=head)

    def draw(self, n: int, split: int) -> tuple[Array, Array]:
        """n samples as the ONNX input wants them, float32, and their targets; other ones for another split."""
        return SAMPLES[self.samples](n, split)


NETWORKS = {
    network.scheme: network
    for network in (
        Network("mcunet-5fps.int8", "mcunet-49kb", "photographs", 10),
        Network("mobilenetv2-w0.35.int8", "mobilenetv2-w0.35", "photographs", 10),
        Network("proxylessnas-w0.3.int8", "proxylessnas-w0.3", "photographs", 10),
        Network("mobilenetv1-0.25-vww96.float", "vww", "small photographs", 10),
        Network("dscnn-kws.float", "kws", "keywords", None),
        Network("autoencoder-ad.float", "autoencoder", "spectra", None, "mse", 1e-4),
    )
}


def on_grid(model: Model, x: Array) -> Array:
    """float32 samples as the network's int8 input."""
    grid = model.input_grid
    facts: dict[str, Any] = {"scale": grid.scale, "zero_point": grid.zero_point, "shape": model.input_shape}
    return quantize_samples(x, {"input": facts if model.input_axes is None else {**facts, "axes": model.input_axes}})


# ---- samples ---------------------------------------------------------------------------------------------------------


def _archive(name: str) -> Path:
    path = SHARED / "data" / name
    assert path.is_file(), f"{path} is missing: set MCUGRAD_SHARED to the folder that holds models/ and data/"
    return path


@functools.lru_cache(1)
def _clothing() -> dict[str, Array]:
    with np.load(_archive("clothing_small_147px.npz"), allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def rows(n: int, split: int) -> Array:
    """The first n photographs of a split, every class in turn."""
    clothing = _clothing()
    members = np.flatnonzero(clothing["split"] == split)
    turn = np.zeros(len(members), np.int64)
    for label in np.unique(clothing["y"]):
        own = clothing["y"][members] == label
        turn[own] = np.arange(own.sum())
    return members[np.lexsort((clothing["y"][members], turn))][:n]


def pixels(places: Sequence[int] | Array, size: int = 128) -> Array:
    """Photographs of clothes: the centre 128x128 pixels, resized to size x size, uint8 (n, 3, size, size)."""
    from PIL import Image

    clothing, found = _clothing(), []
    for i in places:
        data = clothing["jpeg"][clothing["offset"][i] : clothing["offset"][i + 1]].tobytes()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        left, top = (image.width - 128) // 2, (image.height - 128) // 2
        image = image.crop((left, top, left + 128, top + 128))
        if size != 128:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        found.append(np.asarray(image).transpose(2, 0, 1))
    return np.stack(found)


def real(images: Array) -> Array:
    """uint8 pixels as the 128x128 networks read them: v / 127.5 - 1, float32."""
    return np.asarray(images / np.float32(127.5) - np.float32(1), np.float32)


def _photographs(n: int, split: int) -> tuple[Array, Array]:
    places = rows(n, split)
    return real(pixels(places)), _clothing()["y"][places].astype(np.int32)


def _small_photographs(n: int, split: int) -> tuple[Array, Array]:
    """For visual wake words: 96x96, v / 255."""
    places = rows(n, split)
    return np.asarray(pixels(places, 96) / np.float32(255), np.float32), _clothing()["y"][places].astype(np.int32)


def _keywords(n: int, split: int) -> tuple[Array, Array]:
    """MFCCs: the file's first thousand clips, a third a split."""
    with np.load(_archive("kws01_mfcc_1000.npz"), allow_pickle=False) as data:
        at = slice(333 * split, 333 * split + n)
        assert n <= 333
        values = (data["X_int8"][at].astype(np.float32) - data["zero_point"]) * data["scale"]
        return np.asarray(values.reshape(-1, 1, 49, 10), np.float32), data["y"][at].astype(np.int32)


def _spectra(n: int, split: int) -> tuple[Array, Array]:
    """Random spectra, not recordings: 640 normal values around -20 dB. The target is the sample itself."""
    x = np.random.default_rng(split).normal(-20, 10, (n, 640)).astype(np.float32)
    return x, x


SAMPLES = {
    "photographs": _photographs,
    "small photographs": _small_photographs,
    "keywords": _keywords,
    "spectra": _spectra,
}
