"""A training that diverges stops by itself, at the same step everywhere, and the session gives back its last good
state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cli_support import CLASSES, Terminal, network, terminal, write_model, write_samples
from graphs import imported
from host_model import HostModel
from mcugrad.pipeline import Options, compile_file, compile_model
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.serial_firmware import RunningBoard, build_serial
from mcugrad.simulate.session import Mode, Records, Schedule, Session, shuffle_order
from mcugrad.simulate.vm import ReferenceTrainer
from mcugrad.state_file import read_state

__all__ = ["terminal"]
pytestmark = pytest.mark.device

Array = npt.NDArray[Any]
TOO_HIGH, HIGH = 8.0, 0.3  # rates
STOP = 384  # three blocks: the first step at which a training can stop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("divergence")
    model, data = write_model(parent / "m.onnx"), write_samples(parent / "c.npz")
    compile_file(model, parent / "model", Options("mps2-an386", data, "all"), ["mcugrad", "compile"])
    return parent / "model"


def _records(quiet: int, loud: int) -> Records:
    """Samples that the network learns at HIGH, and then noise so loud that at this rate it ruins it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, quiet + loud)
    x = np.random.default_rng(5).normal(0, 40, (CLASSES, 16))[y] + rng.normal(0, 8, (len(y), 16))
    x[quiet:] = rng.choice([-128, 127], (loud, 16))
    return Records(np.clip(x, -128, 127).astype(np.int8), y)


def _session(records: Records, rate: float, **more: Any) -> Session:
    more = {"mode": Mode.TRAIN, "epochs": 1, **more}
    return Session(
        output_len=CLASSES, train=records, learning_rate=rate, schedule=Schedule.CONSTANT, shuffle=False, **more
    )


def test_the_relax_vm_and_the_c_stop_at_the_same_step(tmp_path: Path) -> None:
    compiled = compile_model(imported(network((1, 2, 8))), "all")
    assert compiled.step is not None
    host, relax, records = (
        HostModel(compiled, tmp_path),
        ReferenceTrainer(compiled.model, compiled.step),
        _records(0, 400),
    )
    host.init()
    host.plan(TOO_HIGH, 7)
    for step, (x, y) in enumerate(zip(records.x, records.y, strict=True)):
        if step == STOP - 1:
            before = {name: value.tobytes() for name, value in host.state().items()}
        target = np.array([y], np.int32)
        loss = relax.train_step(x.reshape(1, 2, 8), target, TOO_HIGH, 7, min(step, STOP - 1))
        found = host.train_step(x, target)
        assert np.isnan(found) if relax.watch.diverged else found == loss
        assert (relax.watch.diverged != 0) == (step >= STOP - 1)
    assert {name: value.tobytes() for name, value in host.state().items()} == before
    assert all(before[name] == relax.parameters[name].tobytes() for name in compiled.selection.names)
    host.plan(0.001, 7)
    assert not np.isnan(host.train_step(records.x[0], np.array([0], np.int32))), "a new plan begins anew"


@pytest.mark.parametrize("board", ["host", "mps2-an386"])
def test_the_session_ends_with_the_state_of_the_last_checkpoint(folder: Path, board: str) -> None:
    records = _records(640, 640)
    firmware = build(folder, load_board(board))
    result = run_session(firmware, _session(records, HIGH, test=records), timeout=300)
    assert 640 < result.diverged_step == result.steps <= 640 + 5 * 128
    assert 128 <= result.restored_step <= 640
    assert 2 <= result.checkpoints < 10
    assert result.not_finite == 0
    assert len(result.losses) == 1
    planned = {"steps": result.restored_step, "planned_steps": len(records), "epochs": 0, "mode": Mode.STEPS}
    until = run_session(build(folder, load_board("host")), _session(records, HIGH, **planned))
    there = _parameters(folder, result.state)
    assert there == _parameters(folder, until.state)
    assert there["step"] == np.uint32(result.restored_step).tobytes()
    scored = run_session(firmware, Session(Mode.EVALUATE, CLASSES, test=records, state=result.state), timeout=300)
    assert result.correct_after == scored.correct_after > result.correct_before


def _parameters(folder: Path, state: bytes) -> dict[str, bytes]:
    """All of a state but what only checkpoints change."""
    rows = [row for row in read_manifest(folder)["state"] if row["name"] != "watch.saved"]
    ends = [row["offset"] + int(np.prod(row["shape"])) * np.dtype(row["dtype"]).itemsize for row in rows]
    return {row["name"]: state[row["offset"] : end] for row, end in zip(rows, ends, strict=True)}


def test_both_ways_of_computing_agree(folder: Path) -> None:
    session = _session(_records(640, 640), HIGH)
    here, there = (run_session(build(folder, load_board(b)), session, timeout=300) for b in ("host", "mps2-an386"))
    assert there.same_as(here)


def test_without_a_checkpoint_the_state_is_that_before_the_training(folder: Path) -> None:
    firmware, records = build(folder, load_board("host")), _records(0, 500)
    result = run_session(firmware, _session(records, TOO_HIGH, epochs=3))
    assert (result.diverged_step, result.restored_step, result.checkpoints) == (STOP, 0, 1)
    factory = run_session(firmware, Session(Mode.EVALUATE, CLASSES, test=records))
    trained = [row["name"] for row in read_manifest(folder)["state"] if row["role"] != "bookkeeping"]
    assert all(_parameters(folder, result.state)[n] == _parameters(folder, factory.state)[n] for n in trained)


def test_steps_go_on_being_refused(folder: Path) -> None:
    firmware, records = build(folder, load_board("host")), _records(0, 500)
    at, later = (
        run_session(firmware, _session(records, TOO_HIGH, mode=Mode.STEPS, steps=n, epochs=0, planned_steps=500))
        for n in (STOP, 500)
    )
    assert at.diverged_step == later.diverged_step == STOP
    assert later.state == at.state
    assert later.losses[STOP:].tolist() == [later.losses[STOP]] * (500 - STOP)


def test_the_command_says_so(terminal: Terminal) -> None:
    model, data = write_model(terminal.folder / "m.onnx"), write_samples(terminal.folder / "d.npz", n=90)
    terminal.succeeds("compile", model, "-o", "out", "--data", data, "--train", "all")
    answer = terminal("run", "out", "--train", data, "--epochs", "9", "--lr", str(TOO_HIGH), "--schedule", "constant")
    assert answer.code == 1
    assert "of 810: the weights are those before the training; lower --lr" in answer.out
    assert answer.err == ""
    saved = np.load(terminal.folder / "out" / "trained-1.npz")
    assert saved["step"] == 0
    assert "diverged" not in terminal.succeeds("run", "out", "--train", data, "--epochs", "9", "--lr", "0.01")
    slow = terminal.succeeds("run", "out", "--train", data, "--epochs", "9", "--lr", "0.0001")
    assert "diverged" not in slow, "worse than guessing from the start, as fresh random weights can be"
    assert "no better than guessing (1.0986)" in slow


def _write_in_order(path: Path, folder: Path, records: Records) -> None:
    """An .npz whose shuffled first epoch (seed 0) is `records` in their order."""
    grid, order = read_manifest(folder)["input"], shuffle_order(len(records), 0, 0)
    x = np.empty((len(records), 2, 8), np.float32)
    x[order] = ((records.x.astype(np.float32) - grid["zero_point"]) * np.float32(grid["scale"])).reshape(-1, 2, 8)
    y = np.empty(len(records), np.int64)
    y[order] = records.y
    np.savez(path, x=x, y=y)


def test_over_the_line_a_device_is_left_with_the_last_good_weights(terminal: Terminal, folder: Path) -> None:
    """As `run` leaves its file, and by the same sentence; with --save they are in the flash, too."""
    data, test = terminal.folder / "d.npz", write_samples(terminal.folder / "t.npz")
    _write_in_order(data, folder, _records(300, 500))
    words = ("--train", data, "--test", test, "--epochs", "1", "--lr", str(HIGH), "--schedule", "constant", "--save")
    run = terminal("run", folder, *words, "run.state")
    with RunningBoard(build_serial(folder, load_board("mps2-an386"))) as board:
        answer = terminal("connect", board.port, "train", "--model", folder, *words)
        assert (answer.code, answer.err) == (run.code, run.err) == (1, "")
        told = [line for line in run.out.splitlines() if line.startswith(("loss by", "accuracy", "diverged at"))]
        assert len(told) == 3
        assert "diverged at step 640 of 800: the weights are those of step 256, the last good ones; lower --lr" in told
        assert [line for line in told if line not in answer.out.splitlines()] == []
        board.reset()
        terminal.succeeds("connect", board.port, "pull", "-o", "line.state")
        assert board.stderr == ""
    assert read_state(terminal.folder / "line.state") == read_state(terminal.folder / "run.state")
