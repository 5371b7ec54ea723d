"""A firmware on a serial line: what `mcugrad connect` does to it is what `mcugrad run` would have done, bit for bit."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import CLASSES, Terminal, network, terminal, write_model
from firmware_support import ALL_EMULATED
from mcugrad.device import Device, Step
from mcugrad.device.frames import decode
from mcugrad.device.protocol import Verb
from mcugrad.device.transport import SerialLine, open_line
from mcugrad.pipeline import Options, compile_file
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import Firmware
from mcugrad.simulate.serial_firmware import RunningBoard, build_serial
from mcugrad.simulate.session import Schedule
from mcugrad.state_file import SavedState, read_state, write_state
from serial_fuzz import build as build_fuzzer
from serial_fuzz import fuzz

__all__ = ["terminal"]
pytestmark = pytest.mark.device
LENGTH = 130  # a sample of two channels takes two frames
LIMITS = {"flash": 4096, "SRAM": 2048}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.npz, and two networks: out, other."""
    place = tmp_path_factory.mktemp("serial")
    x = np.random.default_rng(3).standard_normal((8, 2, LENGTH)).astype(np.float32)
    np.savez(place / "data.npz", x=x, y=np.arange(8) % CLASSES)
    model = write_model(place / "net.onnx", network(("batch", 2, LENGTH)))
    other = write_model(place / "other.onnx", network(("batch", 2, LENGTH), channels=5))
    options = Options(load_board("mps2-an386").name, place / "data.npz", "all")
    compile_file(model, place / "out", options, ["test"])
    compile_file(other, place / "other", options, ["test"])
    return place


@pytest.fixture(scope="module")
def host(folder: Path) -> Firmware:
    return build_serial(folder / "out", load_board("host"), sanitize=True, objects=folder / "objects")


@pytest.fixture
def board(host: Firmware) -> Iterator[RunningBoard]:
    with RunningBoard(host) as running:
        yield running
        assert running.stderr == ""


def _kept(board: RunningBoard) -> tuple[SavedState, bytes]:
    """What a device has in SRAM and in flash."""
    with Device(board.port) as device:
        return device.state(), board.storage.read_bytes() if board.storage.exists() else b""


@contextmanager
def nothing_changed(board: RunningBoard) -> Iterator[None]:
    before = _kept(board)
    yield
    assert _kept(board) == before


def _learn(folder: Path, board: RunningBoard, first: int, end: int) -> SavedState:
    """Trains on some of the samples; the state afterwards."""
    data = np.load(folder / "data.npz")
    with Device(board.port, folder / "out") as device:
        assert len(list(device.train(data["x"][first:end], data["y"][first:end]))) == end - first
        return device.state()


def _training(folder: Path) -> list[str | Path]:
    """Options of `connect train`."""
    return ["--model", folder / "out", "--train", folder / "data.npz", "--epochs", "3", "--lr", "0.01"]


def _trained(terminal: Terminal, folder: Path, port: str, target: Path) -> SavedState:
    text = terminal.succeeds("connect", port, "train", *_training(folder), "--test", folder / "data.npz")
    assert "loss by epoch: " in text
    assert re.search(r"accuracy: \d+\.\d% -> \d+\.\d%", text)
    assert re.search(r"evaluating \(epoch 2\) .* 8/8 .* accuracy \d", text)
    assert "in SRAM only" in text
    assert "after 24 steps" in terminal.succeeds("connect", port, "pull", "-o", target)
    return read_state(target)


@pytest.fixture(scope="module")
def expected(folder: Path) -> bytes:
    """The state after `mcugrad run` with the same words."""
    from mcugrad.samples import load_records
    from mcugrad.simulate.build import build, read_manifest
    from mcugrad.simulate.run import run_session
    from mcugrad.simulate.session import Mode, Session

    records = load_records(folder / "data.npz", read_manifest(folder / "out"))
    session = Session(Mode.TRAIN, CLASSES, records, epochs=3, learning_rate=0.01, schedule=Schedule.COSINE)
    return run_session(build(folder / "out", load_board("host")), session).state


def test_training_over_a_pty_gives_the_bits_of_run(
    terminal: Terminal, folder: Path, board: RunningBoard, expected: bytes
) -> None:
    assert _trained(terminal, folder, board.port, terminal.folder / "a.state").state == expected


@pytest.mark.parametrize("name", ALL_EMULATED)
def test_training_over_an_emulated_uart_gives_the_bits_of_the_host(
    terminal: Terminal, folder: Path, expected: bytes, name: str
) -> None:
    firmware = build_serial(folder / "out", load_board(name))
    with RunningBoard(firmware) as running:
        assert _trained(terminal, folder, running.port, terminal.folder / "a.state").state == expected
        with Device(running.port) as device:
            device.save()
            assert 0 < device.statistics().stack <= firmware.stack_bound < load_board(name).stack_reserve
        assert running.stderr == ""


def test_a_state_is_pulled_pushed_and_reset(terminal: Terminal, folder: Path, board: RunningBoard) -> None:
    port, kept = board.port, terminal.folder / "a.state"
    state = _trained(terminal, folder, port, kept)
    assert terminal.succeeds("connect", port, "save") == "saved at step 24\n"
    assert terminal.succeeds("connect", port, "reset") == "factory weights; nothing is saved any more\n"
    assert "at step 0" in terminal.succeeds("connect", port, "info")
    assert "at step 24" in terminal.succeeds("connect", port, "push", kept)
    with Device(port) as device:
        assert device.state() == state
    assert "is not overwritten" in terminal.refuses("connect", port, "pull", "-o", kept)
    terminal.succeeds("connect", port, "reset")
    assert "at step 24" in terminal.succeeds("push", kept, port, "--model", folder / "out")
    terminal.succeeds("pull", port, "-o", "again.state")
    assert read_state(terminal.folder / "again.state") == state
    assert "what is it to be?" in terminal.refuses("connect", port, "pull", "-o", "a.bin")
    assert "with --model DIR" in terminal.refuses("connect", port, "pull", "-o", "a.onnx")
    terminal.succeeds("connect", port, "pull", "-o", "a.onnx", "--model", folder / "out")
    terminal.succeeds("pull", port, "-o", "b.onnx", "--model", folder / "out")
    terminal.succeeds("pull", kept, "-o", "c.onnx", "--model", folder / "out")
    a, b, c = ((terminal.folder / f"{name}.onnx").read_bytes() for name in "abc")
    assert a == b == c


def test_predictions_are_written(terminal: Terminal, folder: Path, board: RunningBoard) -> None:
    words: list[str | Path] = [
        "connect",
        board.port,
        "predict",
        "--model",
        folder / "out",
        "--data",
        folder / "data.npz",
        "-o",
        "p.npz",
    ]
    text = terminal.succeeds(*words)
    outputs = np.load(terminal.folder / "p.npz")["outputs"]
    assert outputs.shape == (8, CLASSES)
    assert [int(line.split("class ")[1].split(",")[0]) for line in text.splitlines()] == outputs.argmax(1).tolist()
    wanted = np.load(folder / "data.npz")["y"]
    share = f"accuracy: {(outputs.argmax(1) == wanted).mean():.1%}"
    judge = ("connect", board.port, "eval", "--model", folder / "out", "--test", folder / "data.npz")
    assert share in terminal.succeeds(*judge)
    assert "nothing is overwritten" in terminal.refuses(*words)


def test_training_goes_on_behind_a_reset(
    terminal: Terminal, folder: Path, board: RunningBoard, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch the power goes; what was saved before it is taken up, and the end is the same."""
    train, steps = Device.train, 0

    def interrupted(device: Device, x: Any, y: Any) -> Iterator[Step]:
        nonlocal steps
        for step in train(device, x, y):
            steps += 1
            if steps == 12:
                board.reset()
            yield step

    monkeypatch.setattr(Device, "train", interrupted)
    text = terminal.succeeds("connect", board.port, "train", *_training(folder), "--save")
    assert "the device was reset: it goes on at step 8" in text
    assert steps > 24
    board.reset()
    assert "started from  the saved state" in terminal.succeeds("connect", board.port, "info")
    with Device(board.port) as device:
        assert device.state().state == expected


def test_without_a_save_a_reset_ends_the_training(
    terminal: Terminal, folder: Path, board: RunningBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Device.train

    def interrupted(device: Device, x: Any, y: Any) -> Iterator[Step]:
        for step in train(device, x, y):
            yield step
            if step.step == 3:
                board.reset()

    monkeypatch.setattr(Device, "train", interrupted)
    answer = terminal("connect", board.port, "train", "--model", folder / "out", "--train", folder / "data.npz")
    assert answer.code == 2
    assert (
        "the device was reset and started from factory weights: nothing was saved; this training is lost" in answer.err
    )


def test_a_board_without_a_flash_driver_says_so(terminal: Terminal, folder: Path) -> None:
    bare = load_board("host").model_copy(update={"storage": None, "drivers": ("uart_posix",)})
    firmware = build_serial(folder / "out", bare, sanitize=True, objects=folder / "objects", build_dir=folder / "bare")
    with RunningBoard(firmware) as running:
        assert "no flash driver" in terminal.succeeds("connect", running.port, "info")
        _learn(folder, running, 0, 2)
        saving = ("--model", folder / "out", "--train", folder / "data.npz", "--save")
        with nothing_changed(running):
            assert "no flash driver" in terminal.refuses("connect", running.port, "save")
            assert "no flash driver" in terminal.refuses("connect", running.port, "load")
            assert "no flash driver" in terminal.refuses("connect", running.port, "train", *saving)


def test_mistakes_end_in_a_sentence_and_change_nothing(terminal: Terminal, folder: Path, board: RunningBoard) -> None:
    port, data = board.port, folder / "data.npz"
    state = _learn(folder, board, 0, 2)
    write_state(terminal.folder / "alien.state", SavedState(b"\1" * 16, "alien", state.state, 1))
    (terminal.folder / "half.state").write_bytes(state.to_bytes()[:-32])
    (terminal.folder / "head.state").write_bytes(state.to_bytes()[:50])
    with nothing_changed(board):
        assert "nothing was saved" in terminal.refuses("connect", port, "load")
        for words in (("eval", "--test", data), ("train", "--train", data), ("save",), ("push", "half.state")):
            assert "runs model 'net'" in terminal.refuses("connect", port, *words, "--model", folder / "other")
        for push in (("connect", port, "push"), ("push",)):
            end = () if push[0] == "connect" else (port,)
            assert "belongs to 'alien'" in terminal.refuses(*push, "alien.state", *end)
            assert "where its header says" in terminal.refuses(*push, "half.state", *end)
            assert "head.state ends at byte 50" in terminal.refuses(*push, "head.state", *end)
        assert "Missing command" in terminal.refuses("connect", port)


def test_a_wrong_port_ends_in_a_sentence(terminal: Terminal, folder: Path) -> None:
    write_state(terminal.folder / "a.state", SavedState(b"\1" * 16, "net", bytes(8), 1))
    wrong = {
        "/dev/no-such-port": "No such file",
        str(folder / "data.npz"): "cannot be opened as a serial port",
        "tcp:4444": "no address",
        "unix:nothing": "is the board running?",
    }
    for port, sentence in wrong.items():
        assert sentence in terminal.refuses("connect", port, "info")
        assert sentence in terminal.refuses("push", "a.state", port)
    assert "No such file" in terminal.refuses("pull", "/dev/no-such-port", "-o", "b.state")


@pytest.mark.parametrize("sent", [False, True])
def test_a_save_that_is_interrupted_happens_as_a_whole_or_not_at_all(
    terminal: Terminal, folder: Path, board: RunningBoard, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    old = _learn(folder, board, 0, 2)
    terminal.succeeds("connect", board.port, "save")
    new = _learn(folder, board, 2, 4)
    write = SerialLine.write

    def interrupted(line: SerialLine, data: bytes) -> None:
        frame = decode(data[1:-1])
        saves = frame is not None and frame.verb == Verb.SAVE
        if sent or not saves:
            write(line, data)
        if saves:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(SerialLine, "write", interrupted)
        answer = terminal("connect", board.port, "save")
    assert (answer.code, answer.out) == (130, "")
    assert answer.err == "mcugrad: interrupted; nothing was written half-way\n"
    assert _kept(board)[0] == new != old
    board.reset()
    assert _kept(board)[0] == (new if sent else old)


def test_a_monitor_follows_a_device_through_a_reset_and_counts_frames_that_are_too_long(
    terminal: Terminal, folder: Path, board: RunningBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.succeeds("connect", board.port, "train", *_training(folder), "--save")
    seconds = 0

    def sleep(_: float) -> None:
        nonlocal seconds
        seconds += 1
        if seconds == 1:
            board.reset()
        elif seconds == 2:
            line = open_line(board.port)
            line.write(b"\0" + b"\x21" * 400 + b"\0")
            line.close()
        else:
            os.kill(os.getpid(), signal.SIGINT)

    with nothing_changed(board), monkeypatch.context() as patch:
        patch.setattr("mcugrad.commands.connect.time.sleep", sleep)
        answer = terminal("connect", board.port, "monitor")
    assert answer.code == 130
    assert re.search(r"step 24 of 24 loss \d.* steps/s .* lost frames 1\b", " ".join(answer.out.split()))


def test_serve_runs_a_firmware_until_it_is_interrupted(
    terminal: Terminal, folder: Path, host: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(board: RunningBoard) -> None:
        with Device(board.port, folder / "out"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("mcugrad.simulate.serial_firmware.build_serial", lambda *_: host)
    monkeypatch.setattr(RunningBoard, "wait", wait)
    answer = terminal("serve", folder / "out")
    port = re.fullmatch(r"mcugrad connect (\S+) info\n", answer.out)
    assert answer.code == 130
    assert port is not None
    assert "cannot be opened" in terminal.refuses("connect", port[1], "info")
    monkeypatch.setattr(RunningBoard, "wait", RunningBoard._stop)
    answer = terminal("serve", folder / "out")
    assert (answer.code, answer.err) == (2, "mcugrad: error: the firmware on host ended: without a word\n")


@pytest.mark.parametrize("name", ["mps2-an386"])
def test_the_line_is_small(folder: Path, name: str) -> None:
    """By the linker's map: flash of the protocol and of the model's own glue; SRAM above the model's."""
    firmware = build_serial(folder / "out", load_board(name))
    text = firmware.elf.with_suffix(".map").read_text(encoding="utf-8")
    placed = re.findall(r"^ \.(text|rodata)\S*\s+0x(\w+)\s+0x(\w+) .*/\d+_(\w+)\.o$", text, re.MULTILINE)
    files = ("serial", "serial_verbs", "crc32", "net_serial")
    flash = {file: sum(int(n, 16) for _, at, n, of in placed if of == file and int(at, 16)) for file in files}
    assert all(flash.values()), flash
    manifest = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    sram = firmware.sizes.static - manifest["static_bytes"]
    print(flash, sum(flash.values()), sram)
    assert sum(flash.values()) < LIMITS["flash"], flash
    assert sram < LIMITS["SRAM"]


def test_a_fuzzer_finds_nothing_behind_the_line_of_a_compiled_model(folder: Path, tmp_path: Path) -> None:
    """As unit/test_serial_fuzz.py behind that of the fake one; here the kernels, too, are under the sanitizers."""
    build_fuzzer(tmp_path / "fuzz", compiled=folder / "out")
    done = fuzz(tmp_path / "fuzz", tmp_path, 2, folder / "out")
    assert done.returncode == 0, done.stderr[-3000:]
