"""`--cache-prefix`: the record of a sample is all that the step behind the frozen prefix needs, and training from
records is training, bit for bit."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cli_support import Terminal, terminal, write_samples
from frontend_graphs import networks
from graphs import imported, residual_2d, samples
from host_model import HostModel
from mcugrad.errors import McugradError
from mcugrad.graph import Role
from mcugrad.pipeline import Options, compile_file, compile_model
from mcugrad.plan.prefix import frozen_prefix
from mcugrad.scheme import Bias, Scheme
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import CACHE_PREFIX, Mode, Records, Session, SessionResult

__all__ = ["terminal"]
pytestmark = pytest.mark.device

Array = npt.NDArray[Any]
SCHEME = """
errors = "int8"
bias.last = 1
weight = { wide = 0.5, last = 1.0 }
"""


# ---- the record


@settings(max_examples=6, deadline=None, derandomize=True)
@given(networks(), st.sampled_from(["cross_entropy", "mse"]), st.integers(0, 2**31))
def test_a_step_needs_nothing_but_the_record(net: onnx.ModelProto, loss: Any, seed: int) -> None:
    """Noise everywhere else in the arena changes nothing; noise in the record does."""
    rng = np.random.default_rng(seed)
    try:
        model = imported(net)
    except McugradError:  # a Pad by negative amounts
        assume(False)
    weights = [p.layer for p in model.parameters if p.role is Role.WEIGHT and not p.head]
    late = {name: float(rng.uniform(0.2, 1)) for name in weights[len(weights) // 2 :]}
    compiled = compile_model(model, Scheme(weight=dict(late), bias=Bias(last=int(rng.integers(3)))), loss)
    assume(frozen_prefix(compiled.program) is not None)
    with tempfile.TemporaryDirectory() as folder:
        host = HostModel(compiled, Path(folder))
        host.init()
        host.plan(0.01, 7)
        for _ in range(3):
            x = np.clip(rng.normal(model.input_grid.zero_point, 55, model.input_shape), -128, 127).astype(np.int8)
            y: Array = np.array([rng.integers(np.prod(model.output_shape))], np.int32)
            if loss == "mse":
                y = rng.normal(0, 1, model.output_shape).astype(np.float32)
            before = host.save()
            expected, after = host.train_step(x, y), host.state()
            host.restore(before)
            host.prefix(x)
            pieces = host.prefix_pieces()
            record = [piece.copy() for piece in pieces]
            host.arena()[:] = rng.integers(0, 256, len(host.arena()))
            for piece, kept in zip(pieces, record, strict=True):
                piece[:] = kept
            assert host.train_step_cached(y) == expected
            assert {n: v.tobytes() for n, v in host.state().items()} == {n: v.tobytes() for n, v in after.items()}


def test_another_sample_s_record_is_another_step(tmp_path: Path) -> None:
    """Any piece of it gives another loss: the test above can fail."""
    model = imported(residual_2d())
    host = HostModel(compile_model(model, Scheme(weight={"last": 1.0})), tmp_path)
    host.init()
    host.plan(0.01, 7)
    a, b = np.random.default_rng(1).integers(-128, 128, (2, *model.input_shape)).astype(np.int8)
    y, start = np.array([1], np.int32), host.save()
    expected = host.train_step(a, y)
    for index in range(len(host.prefix_pieces())):
        host.restore(start)
        host.prefix(b)
        other = host.prefix_pieces()[index].copy()
        host.prefix(a)
        host.prefix_pieces()[index][:] = other
        assert host.train_step_cached(y) != expected


# ---- sessions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent, model = tmp_path_factory.mktemp("prefix"), residual_2d()
    onnx.save(model, parent / "graph.onnx")
    np.savez(parent / "calibration.npz", x=samples(model))
    (parent / "scheme.toml").write_text(SCHEME, encoding="utf-8")
    options = Options("mps2-an386", parent / "calibration.npz", str(parent / "scheme.toml"))
    compile_file(parent / "graph.onnx", parent / "model", options, ["mcugrad", "compile"])
    return parent / "model"


def _trained(folder: Path, board: str, *, cached: bool, shuffle: bool) -> SessionResult:
    rng = np.random.default_rng(2)
    records = Records(rng.integers(-128, 128, (12, 3 * 13 * 11)).astype(np.int8), rng.integers(0, 5, 12))
    length = read_manifest(folder)["prefix"]["bytes"] if cached else 0
    session = Session(
        Mode.TRAIN, 5, records, records, epochs=4, learning_rate=0.01, shuffle=shuffle, seed=3, cache_len=length
    )
    firmware = build(folder, load_board(board), defines=(CACHE_PREFIX,) if cached else ())
    return run_session(firmware, session, timeout=300)


@pytest.mark.parametrize("board", ["host", "mps2-an386"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_cached_training_is_training(folder: Path, board: str, shuffle: bool) -> None:
    plain, cached = (_trained(folder, board, cached=c, shuffle=shuffle) for c in (False, True))
    assert cached.same_as(plain)
    assert cached.steps == 48
    if board == "host":
        return
    manifest = read_manifest(folder)
    share = manifest["prefix"]["macs"] / sum(manifest["macs"].values())
    assert cached.later_ticks < (1 - share / 2) * plain.later_ticks < 0.9 * plain.later_ticks
    assert cached.first_ticks == pytest.approx(plain.first_ticks, rel=0.001)


def test_what_is_not_asked_for_costs_nothing(folder: Path) -> None:
    """The same SRAM with and without; and the linker drops what only the cache calls."""
    board = load_board("mps2-an386")
    plain, cached = (build(folder, board, defines=d) for d in ((), (CACHE_PREFIX,)))
    assert plain.sizes.static == cached.sizes.static == read_manifest(folder)["predicted"]["sram"]["static"]
    assert plain.sizes.flash < cached.sizes.flash <= plain.sizes.flash + 1024
    assert b"prefix_piece" in cached.elf.read_bytes()
    assert b"prefix_piece" not in plain.elf.read_bytes()
    assert b"cache.bin" not in plain.elf.read_bytes()


def test_firmware_and_session_must_agree(folder: Path) -> None:
    records = Records(np.zeros((2, 3 * 13 * 11), np.int8), np.zeros(2, np.int64))
    plain, cached = (build(folder, load_board("host"), defines=d) for d in ((), (CACHE_PREFIX,)))
    with pytest.raises(McugradError, match="on host stopped: this firmware was built without MCUGRAD_CACHE_PREFIX"):
        run_session(plain, Session(Mode.TRAIN, 5, records, epochs=1, cache_len=8))
    with pytest.raises(McugradError, match="on host stopped: .* its prefix has another length"):
        run_session(cached, Session(Mode.TRAIN, 5, records, epochs=1, cache_len=8))
    with pytest.raises(McugradError, match="more than 2147483647: give fewer records"):
        Session(Mode.TRAIN, 5, records, epochs=1, cache_len=2**31).to_bytes()


# ---- the command


def test_the_command_says_what_it_saved(terminal: Terminal, folder: Path) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((10, 3, 13, 11)).astype(np.float32)
    data = write_samples(terminal.folder / "data.npz", x=x, y=np.arange(10) % 5)
    words = ("run", folder, "--on", "mps2-an386", "--train", data, "--epochs", "3")
    terminal.succeeds(*words, "--save", "plain.npz")
    text = terminal.succeeds(*words, "--save", "cached.npz", "--cache-prefix")
    assert (terminal.folder / "plain.npz").read_bytes() == (terminal.folder / "cached.npz").read_bytes()
    first, later = map(float, re.findall(r"([\d.]+) M instructions in the first epoch, ([\d.]+) M later", text)[0])
    assert 0 < later < 0.9 * first
    size = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["prefix"]["bytes"]
    assert f"frozen prefix: {size} bytes a sample cached" in text
    assert "which epochs after the first skip" in terminal.succeeds(
        *("run", folder, "--train", data, "--epochs", "1", "--save", "host.npz", "--cache-prefix")
    )


def test_the_command_refuses_where_there_is_nothing_to_cache(terminal: Terminal, folder: Path) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((10, 3, 13, 11)).astype(np.float32)
    data = write_samples(terminal.folder / "data.npz", x=x, y=np.arange(10) % 5)
    assert "nothing is trained" in terminal.refuses("run", folder, "--test", data, "--cache-prefix")
    onnx.save(residual_2d(), terminal.folder / "net.onnx")
    terminal.succeeds("compile", "net.onnx", "-o", "all", "--data", data, "--train", "all")
    assert "the first layer trains" in terminal.refuses("run", "all", "--train", data, "--cache-prefix")
