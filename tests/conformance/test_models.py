"""The pre-trained networks (MCUGRAD_SHARED, default ../shared): each compiles or says why not, and computes what
onnxruntime computes, on photographs and keywords."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from emitted_models import Array, Emitted
from layerwise import Theirs, compare
from mcugrad import frontend
from mcugrad.errors import McugradError
from mcugrad.frontend.importer import import_model
from mcugrad.graph import Model
from mcugrad.pipeline import Loss, Options, Written, compile_file, compile_model, model_name

SHARED = Path(os.environ.get("MCUGRAD_SHARED", Path(__file__).parents[2].parent / "shared"))
FLOAT = (
    "autoencoder-ad",
    "dscnn-kws",
    "mcunet-5fps",
    "mobilenetv1-0.25-vww96",
    "mobilenetv2-w0.35",
    "proxylessnas-w0.3",
)
INT8 = ("mcunet-5fps", "mobilenetv2-w0.35", "proxylessnas-w0.3")
NAMES = (*(f"{name}.float" for name in FLOAT), *(f"{name}.int8" for name in INT8))
# A float32 classifier of 1000 classes, with the state that trains it, is larger than 256 KB by itself.
TOO_BIG = {f"{name}.{kind}" for name in INT8 for kind in ("float", "int8")}
DEAD = 2**30  # a bias as large as this belongs to a dead channel
SAMPLES = 3


def _file(name: str) -> Path:
    path = SHARED / "models" / f"{name}.onnx"
    assert path.is_file(), f"{path} is missing: set MCUGRAD_SHARED to the folder that holds models/ and data/"
    return path


def _photographs(n: int, size: int) -> Array:
    """The first n photographs of clothes, their middle size x size pixels, uint8 (n, 3, size, size)."""
    from PIL import Image

    data = np.load(SHARED / "data" / "clothing_small_147px.npz")
    cut = data["offset"]
    found = []
    for i in range(n):
        image = Image.open(io.BytesIO(data["jpeg"][cut[i] : cut[i + 1]].tobytes())).convert("RGB")
        left, top = (image.width - size) // 2, (image.height - size) // 2
        found.append(np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1))
    return np.stack(found)


def _keywords(n: int) -> Array:
    data = np.load(SHARED / "data" / "kws01_mfcc_1000.npz")
    real = (data["X_int8"][:n].astype(np.float32) - data["zero_point"]) * data["scale"]
    return np.asarray(real.reshape(n, 1, 49, 10), np.float32)


def _samples(name: str, n: int) -> Array:
    """n real samples as the network wants them (the autoencoder's spectra are random)."""
    if name.startswith("dscnn"):
        return _keywords(n)
    if name.startswith("autoencoder"):
        return np.random.default_rng(0).normal(-20, 10, (n, 640)).astype(np.float32)
    if "vww96" in name:
        return np.asarray(_photographs(n, 96) / np.float32(255), np.float32)
    return np.asarray(_photographs(n, 128) / np.float32(127.5) - 1, np.float32)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Eight samples for a float model."""
    folder = tmp_path_factory.mktemp("calibration")

    def path(name: str) -> Path:
        found = folder / f"{name}.npz"
        if not found.exists():
            np.savez(found, x=_samples(name, 8))
        return found

    return path


@pytest.mark.parametrize("name", NAMES)
def test_compiles_for_inference(name: str, tmp_path: Path, calibration: Callable[[str], Path]) -> None:
    assert _compile(name, "none", None, tmp_path / "out", calibration).budget.sram <= 256 * 1024
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_compiles_for_a_new_classifier(name: str, tmp_path: Path, calibration: Callable[[str], Path]) -> None:
    """The classifier trains: the network's own, or one of ten classes where that is too large and the error says so."""
    classes = None
    if name in TOO_BIG:
        with pytest.raises(
            McugradError, match=r"has 262144: the arena peaks at layer '\S+' with \d+ bytes .*take \d+;"
        ):
            _compile(name, "head", None, tmp_path / "out", calibration)
        assert not (tmp_path / "out").exists()
        classes = 10
    written = _compile(name, "head", classes, tmp_path / "out", calibration)
    assert written.compiled.step is not None
    assert written.budget.sram <= 256 * 1024


def _compile(name: str, train: str, classes: int | None, folder: Path, calibration: Callable[[str], Path]) -> Written:
    data = calibration(name) if name.endswith("float") else None
    loss: Loss = "mse" if name.startswith("autoencoder") else "cross_entropy"
    return compile_file(_file(name), folder, Options("mps2-an386", data, train, classes, loss), ["test"])


@dataclass(frozen=True)
class _Built:
    emitted: Emitted
    models: dict[str, tuple[Model, onnx.ModelProto]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, calibration: Callable[[str], Path]) -> _Built:
    """All networks for inference, in one shared library; no board's budget applies on the host."""
    emitted, models = Emitted(tmp_path_factory.mktemp("models")), {}
    for name in NAMES:
        graph = frontend.load_model(_file(name))
        quantised = graph if name.endswith("int8") else frontend.quantize(graph, np.load(calibration(name))["x"])
        canonical = frontend.prepare(quantised)
        model = import_model(canonical, model_name(Path(name.replace(".", "_"))), float_head=False)
        emitted.add(model, compile_model(model, "none", stream=False).program)
        models[name] = model, canonical
    emitted.build()
    return _Built(emitted, models)


@pytest.mark.parametrize("name", NAMES)
def test_layers_equal_onnxruntime(built: _Built, name: str, record_property: Callable[[str, object], None]) -> None:
    """Every layer on onnxruntime's own inputs: Conv and Gemm to the bit, others within one."""
    model, canonical = built.models[name]
    x = _samples(name, SAMPLES)
    found = compare(built.emitted, model, canonical, Theirs(canonical), x)
    record_property("agreement", f"\n{found.text()}")
    assert not found.problems()
    assert found.elements["Conv"] + found.elements["Gemm"] > 0
    assert found.alone == 0
    if name.endswith("int8"):
        as_given = compare(built.emitted, model, canonical, Theirs(frontend.load_model(_file(name))), x)
        assert not as_given.problems()
        assert as_given.elements["Conv"] == found.elements["Conv"]


@pytest.mark.parametrize("name", ["mcunet-5fps.int8", "proxylessnas-w0.3.int8"])
def test_dead_channels_are_among_them(built: _Built, name: str) -> None:
    """Biases of INT32_MIN or INT32_MAX, to which a sum overflows: test_layers_equal_onnxruntime holds there too."""
    model, _ = built.models[name]
    biases = [p.value for p in model.parameters if p.name.endswith(".bias") and p.value.dtype == np.int32]
    assert any((b == np.iinfo(np.int32).min).any() for b in biases)
    assert sum(int((np.abs(b.astype(np.int64)) > DEAD).sum()) for b in biases) > 10
