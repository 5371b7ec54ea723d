"""A firmware on a serial line: what `mcugrad connect` does to it is what `mcugrad run` would have done, bit for bit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import CLASSES, Terminal, network, terminal, write_model
from firmware_support import ALL_EMULATED
from mcugrad.device import Device, Step
from mcugrad.pipeline import Options, compile_file
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import Firmware
from mcugrad.simulate.serial_firmware import RunningBoard, build_serial
from mcugrad.simulate.session import Schedule
from mcugrad.state_file import SavedState, read_state, write_state

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


def _training(folder: Path) -> list[str | Path]:
    """Options of `connect train`."""
    return ["--model", folder / "out", "--train", folder / "data.npz", "--epochs", "3", "--lr", "0.01"]


def _trained(terminal: Terminal, folder: Path, port: str, target: Path) -> SavedState:
    text = terminal.succeeds("connect", port, "train", *_training(folder), "--test", folder / "data.npz")
    assert "loss by epoch: " in text
    assert re.search(r"accuracy: \d+\.\d% -> \d+\.\d%", text)
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
    assert "what is it to be?" in terminal.refuses("connect", port, "pull", "-o", "a.bin")
    assert "with --model DIR" in terminal.refuses("connect", port, "pull", "-o", "a.onnx")
    terminal.succeeds("connect", port, "pull", "-o", "a.onnx", "--model", folder / "out")
    assert (terminal.folder / "a.onnx").is_file()


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
        assert "no flash driver" in terminal.refuses("connect", running.port, "save")
        assert "no flash driver" in terminal.refuses("connect", running.port, "load")
        saving = ("--model", folder / "out", "--train", folder / "data.npz", "--save")
        assert "no flash driver" in terminal.refuses("connect", running.port, "train", *saving)


def test_mistakes_end_in_a_sentence(terminal: Terminal, folder: Path, board: RunningBoard) -> None:
    port = board.port
    other = ("--model", folder / "other")
    assert "runs model 'net'" in terminal.refuses("connect", port, "eval", *other, "--test", folder / "data.npz")
    assert "nothing was saved" in terminal.refuses("connect", port, "load")
    alien = SavedState(b"\1" * 16, "alien", bytes(8), 1)
    write_state(terminal.folder / "alien.state", alien)
    assert "belongs to 'alien'" in terminal.refuses("connect", port, "push", "alien.state")
    whole = (terminal.folder / "alien.state").read_bytes()
    (terminal.folder / "half.state").write_bytes(whole[:50])
    assert "half.state ends at byte 50" in terminal.refuses("connect", port, "push", "half.state")
    assert "No such file" in terminal.refuses("connect", "/dev/no-such-port", "info")
    assert "no address" in terminal.refuses("connect", "tcp:4444", "info")
    assert "is the board running?" in terminal.refuses("connect", "unix:nothing", "info")
    assert "Missing command" in terminal.refuses("connect", port)


@pytest.mark.parametrize("name", ["mps2-an386"])
def test_the_line_is_small(folder: Path, name: str) -> None:
    """By the linker's map: flash of the protocol and of the model's own glue; SRAM above the model's."""
    firmware = build_serial(folder / "out", load_board(name))
    text = firmware.elf.with_suffix(".map").read_text(encoding="utf-8")
    placed = re.findall(r"^ \.(text|rodata)\S*\s+0x(\w+)\s+0x(\w+) \S*/\d+_(\w+)\.o$", text, re.MULTILINE)
    files = ("serial", "serial_verbs", "crc32", "net_serial")
    flash = {file: sum(int(n, 16) for _, at, n, of in placed if of == file and int(at, 16)) for file in files}
    assert all(flash.values()), flash
    manifest = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    sram = firmware.sizes.static - manifest["static_bytes"]
    print(flash, sum(flash.values()), sram)
    assert sum(flash.values()) < LIMITS["flash"], flash
    assert sram < LIMITS["SRAM"]
