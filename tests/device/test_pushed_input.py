"""`--input pushed`: a sample that comes in rows and is never whole trains the same bits in less SRAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bottlenecks import Bottlenecks
from mcugrad.device import Device
from mcugrad.device.protocol import RESTART, Verb
from mcugrad.errors import McugradError
from mcugrad.pipeline import Input, Options, Written, compile_file
from mcugrad.samples import quantize_samples
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Schedule, Session, SessionResult
from serial_memory import Library, MemoryLine

pytestmark = pytest.mark.device
CLASSES, SCHEME = 4, 'bias.last = 1\nerrors = "int8"\n'


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with calibration data, compiled once for either way of input."""
    folder = tmp_path_factory.mktemp("pushed")
    net = Bottlenecks(5)
    net.shape, net.input_shape = [3, 40, 36], (1, 3, 40, 36)
    onnx.save(net.build(), folder / "net.onnx")
    np.savez(folder / "data.npz", x=_samples(net, 12))
    (folder / "scheme.toml").write_text(SCHEME, encoding="utf-8")
    for way in ("resident", "pushed"):
        _compile(folder, way)
    return folder


def _samples(net: Bottlenecks, n: int) -> Any:
    return np.random.default_rng(1).standard_normal((n, *net.input_shape[1:])).astype(np.float32)


def _compile(work: Path, way: Input, train: str | None = None) -> Written:
    options = Options("mps2-an386", work / "data.npz", train or str(work / "scheme.toml"), input=way)
    return compile_file(work / "net.onnx", work / way, options, ["test"])


def _train(work: Path, way: Input, board: str) -> SessionResult:
    manifest = read_manifest(work / way)
    x = quantize_samples(np.load(work / "data.npz")["x"], manifest)
    records = Records(x, np.arange(len(x)) % CLASSES)
    session = Session(Mode.TRAIN, CLASSES, records, records, epochs=3, learning_rate=0.01, seed=3)
    firmware = build(work / way, load_board(board))
    if board != "host":
        assert firmware.sizes.static == manifest["predicted"]["sram"]["static"]
    return run_session(firmware, session)


@pytest.mark.parametrize("board", ["host", "mps2-an386", "mps2-an500"])
def test_the_same_bits(work: Path, board: str) -> None:
    assert _train(work, "pushed", board).same_as(_train(work, "resident", "host"))


def test_rows_that_come_over_a_serial_line(work: Path, tmp_path: Path) -> None:
    """Also when a sample is broken off in the middle of its rows."""
    x, states = np.load(work / "data.npz")["x"], []
    for way in ("resident", "pushed"):
        (tmp_path / way).mkdir()
        line, manifest = MemoryLine(Library(tmp_path / way, work / way, "net")), read_manifest(work / way)
        with Device(line, manifest, retry=0.001) as device:
            assert bool(device.info.row_len) == (way == "pushed")
            device.plan(Schedule.CONSTANT, 0.01, 0)
            for _ in range(2):
                assert len(list(device.train(x, np.arange(len(x)) % CLASSES))) == len(x)
                first = quantize_samples(x[:1], manifest).tobytes()[:200]
                device._exchange.call(Verb.SAMPLE, RESTART.to_bytes(4, "little") + first)
                device.reconnect()
            states.append(device.state().state)
    assert states[0] == states[1]


def test_the_sample_takes_a_few_rows(work: Path) -> None:
    pushed, resident = (read_manifest(work / way) for way in ("pushed", "resident"))
    assert pushed["arena_bytes"] < resident["arena_bytes"]
    (sample,) = (t for t in pushed["tensors"] if t["name"] == "input")
    rows, channels, width = sample["shape"][2], sample["shape"][1], sample["shape"][3]
    assert rows < pushed["input"]["shape"][2]
    assert sample["bytes"] == rows * channels * width


def test_layers_that_train_cannot_begin_while_the_sample_comes(work: Path) -> None:
    with pytest.raises(
        McugradError, match="--input pushed: the network begins with '.*' .Conv., which cannot run row by row"
    ):
        _compile(work, "pushed", train="all")
