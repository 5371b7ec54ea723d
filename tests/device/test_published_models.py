"""The published networks fit, boot and train on both emulated boards, with the bits of the host build."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mcugrad.pipeline import Options, compile_file
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("MCUGRAD_SHARED", ROOT.parent / "shared")) / "models"
BOARDS = ("host", "mps2-an386", "mps2-an500")
STEPS = 3  # the first runs every error kernel twice


@dataclass(frozen=True)
class Case:
    file: str
    scheme: str
    classes: int | None
    loss: str = "cross_entropy"


CASES = (
    Case("mcunet-5fps.int8", "mcunet-49kb", 10),
    Case("mobilenetv2-w0.35.int8", "mobilenetv2-w0.35", 10),
    Case("proxylessnas-w0.3.int8", "proxylessnas-w0.3", 10),
    Case("mobilenetv1-0.25-vww96.float", "vww", 10),
    Case("dscnn-kws.float", "kws", 12),
    Case("autoencoder-ad.float", "autoencoder", None, "mse"),
)


def _compile(case: Case, folder: Path) -> None:
    assert SHARED.is_dir(), f"{SHARED} is missing: set MCUGRAD_SHARED to the folder that holds models/"
    options = Options(
        "mps2-an386",
        _calibration(case, folder.parent) if ".float" in case.file else None,
        str(ROOT / "models" / "schemes" / f"{case.scheme}.toml"),
        case.classes,
        "mse" if case.loss == "mse" else "cross_entropy",
    )
    compile_file(SHARED / f"{case.file}.onnx", folder, options, ["test"])


def _calibration(case: Case, folder: Path) -> Path:
    """Random samples: the arithmetic is compared here, not the accuracy."""
    from mcugrad.frontend import load_model

    dims = [d.dim_value for d in load_model(SHARED / f"{case.file}.onnx").graph.input[0].type.tensor_type.shape.dim]
    path = folder / "calibration.npz"
    np.savez(path, x=np.random.default_rng(0).random((8, *dims[1:]), np.float32))
    return path


def _records(folder: Path, case: Case) -> Records:
    manifest, random = read_manifest(folder), np.random.default_rng(1)
    x = random.integers(-128, 128, (STEPS, *manifest["input"]["shape"][1:])).astype(np.int8)
    outputs = int(np.prod(manifest["output"]["shape"]))
    if case.loss == "mse":
        return Records(x, random.standard_normal((STEPS, outputs)).astype(np.float32))
    return Records(x, random.integers(0, outputs, STEPS))


@pytest.mark.device
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.scheme)
def test_trains_on_every_board_with_equal_bits(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    _compile(case, folder)
    records, manifest = _records(folder, case), read_manifest(folder)
    outputs = int(np.prod(manifest["output"]["shape"]))
    results = []
    for name in BOARDS:
        board = load_board(name)
        firmware = build(folder, board)
        if board.memory is not None:
            assert firmware.sizes.static == manifest["predicted"]["sram"]["static"]
        session = Session(Mode.STEPS, outputs, train=records, steps=STEPS, learning_rate=0.003, seed=5)
        results.append(run_session(firmware, session))
    host, *cores = results
    assert np.isfinite(host.losses).all()
    for core in cores:
        assert core.same_as(host)
        assert core.stack_high_water <= 4096
