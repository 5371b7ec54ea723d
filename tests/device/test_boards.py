"""Every board of targets/: the emulated ones learn what the host learns, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware_support import ALL_EMULATED, EMULATED
from mcugrad.pipeline import Options, compile_file
from mcugrad.samples import load_records
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Schedule, Session

pytestmark = pytest.mark.device
ROOT = Path(__file__).resolve().parents[2]
WATCH = ROOT / "models" / "watch" / "watch-unseen-2.onnx"


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The watch's C, every layer trains; samples beside it."""
    folder = tmp_path_factory.mktemp("boards")
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.standard_normal((24, 6, 100)).astype(np.float32), y=rng.integers(0, 7, 24))
    compile_file(WATCH, folder / "watch", Options("mps2-an386", folder / "d.npz", "all"), ["test"])
    return folder / "watch"


@pytest.mark.parametrize("name", [name for name in ALL_EMULATED if name not in EMULATED])
def test_the_watch_learns_the_same_bytes_on_it(watch: Path, name: str) -> None:
    records = load_records(watch.parent / "d.npz", read_manifest(watch))
    session = Session(
        *(Mode.TRAIN, 7, records, records),
        epochs=2,
        learning_rate=0.003,
        schedule=Schedule.COSINE,
        seed=3,
    )
    firmware = build(watch, load_board(name))
    result = run_session(firmware, session, timeout=300)
    assert result.same_as(run_session(build(watch, load_board("host")), session))
    assert result.steps == 48
    assert firmware.sizes.static == read_manifest(watch)["predicted"]["sram"]["static"]
    assert 0 < result.stack_high_water <= firmware.stack_bound <= result.stack_reserve
