"""`mcugrad run` and `bench`: what trains, what only evaluates, what is refused, and what a signal leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from cli_support import CLASSES, Terminal, terminal, tree, write_model, write_samples
from frontend_graphs import Builder
from mcugrad.pipeline import Options, import_file

__all__ = ["terminal"]
pytestmark = pytest.mark.device


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "data.npz")


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    y = np.random.default_rng(5).standard_normal((8, CLASSES)).astype(np.float32)
    return write_samples(tmp_path / "targets.npz", y=y)


def _compiled(terminal: Terminal, data: Path, *more: str) -> Path:
    model = write_model(terminal.folder / "model.onnx")
    terminal.succeeds("compile", model, "-o", "out", "--data", data, *more)
    return terminal.folder / "out"


@pytest.mark.parametrize("board", ["host", "mps2-an386"])
def test_training_saves_what_was_learned(terminal: Terminal, data: Path, board: str) -> None:
    out = _compiled(terminal, data, "--train", "all")
    text = terminal.succeeds("run", out, "--on", board, "--train", data, "--test", data, "--epochs", "2")
    assert "loss by epoch: " in text
    assert " -> " in text.split("accuracy: ")[1]
    first = np.load(out / "trained-1.npz")
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert set(first.files) == {"state", "model_hash", *(row["name"] for row in manifest["state"])}
    assert len(first["state"]) == manifest["state_bytes"]
    assert first["step"] == 16
    assert terminal.succeeds("run", out, "--on", board, "--train", data, "--epochs", "2").count("trained-2.npz") == 1
    assert (out / "trained-1.npz").read_bytes() == (out / "trained-2.npz").read_bytes()


def test_saving_elsewhere(terminal: Terminal, data: Path) -> None:
    out = _compiled(terminal, data, "--train", "head")
    terminal.succeeds("run", out, "--train", data, "--epochs", "1", "--save", "w.npz")
    assert (terminal.folder / "w.npz").is_file()
    assert not list(out.glob("trained-*"))
    assert "w.npz exists" in terminal.refuses("run", out, "--train", data, "--save", "w.npz")
    assert "a does not exist" in terminal.refuses("run", out, "--train", data, "--save", "a/w.npz")
    assert "nothing is trained" in terminal.refuses("run", out, "--test", data, "--save", "v.npz")


def test_saved_tensors_have_the_channels_of_the_onnx_file(terminal: Terminal, data: Path) -> None:
    """On the device the listed channels are the first ones; who reads what was learned does not see that."""
    scheme = 'rounding = "residual"\n[weight]\nstem = { outputs = [3, 1] }\n'
    (terminal.folder / "s.toml").write_text(scheme, encoding="utf-8")
    out = _compiled(terminal, data, "--train", "s.toml")
    factory = import_file(terminal.folder / "model.onnx", Options("host", data), head="float32")
    still, moved, on_core = (
        _trained(terminal, out, data, *case) for case in (("1e-30", "host"), ("0.05", "host"), ("0.05", "mps2-an386"))
    )
    rows = {row["name"]: row for row in json.loads((out / "manifest.json").read_text(encoding="utf-8"))["state"]}
    for name in ("stem.weight", "head.weight", "head.bias"):
        np.testing.assert_array_equal(still[name], factory.parameter(name).value)
    changed = (moved["stem.weight"] != still["stem.weight"]).any(axis=(1, 2, 3))
    assert changed.tolist() == [False, True, False, True]
    assert (rows["stem.weight"]["channel_order"], "channel_order" in rows["head.bias"]) == ({"0": [1, 3, 0, 2]}, False)
    assert rows["head.weight"]["channel_order"] == {"1": [1, 3, 0, 2]}
    assert rows["stem.weight.residual"]["channel_order"] == {"0": [1, 3]}  # what trains has a rest
    assert on_core["state"].tobytes() == moved["state"].tobytes()
    start = rows["stem.weight"]["offset"]
    on_device = still["state"][start : start + still["stem.weight"].size].view(np.int8).reshape(4, -1)
    np.testing.assert_array_equal(on_device, still["stem.weight"].reshape(4, -1)[[1, 3, 0, 2]])


def _trained(terminal: Terminal, out: Path, data: Path, rate: str, board: str) -> Mapping[str, np.ndarray]:
    file = f"{board}-{rate}.npz"
    options = ("--on", board, "--epochs", "1", "--lr", rate, "--seed", "3", "--save", file)
    terminal.succeeds("run", out, "--train", data, *options)
    with np.load(terminal.folder / file) as saved:
        return dict(saved)


def test_evaluation_alone_changes_nothing(terminal: Terminal, data: Path) -> None:
    out = _compiled(terminal, data, "--train", "all")
    text = terminal.succeeds("run", out, "--test", data)
    assert "accuracy: " in text
    assert "->" not in text
    assert not list(out.glob("trained-*"))


def test_without_training(terminal: Terminal, data: Path, targets: Path) -> None:
    out = _compiled(terminal, data)
    assert "accuracy: " in terminal.succeeds("run", out, "--on", "mps2-an386", "--test", data)
    assert "test loss: " in terminal.succeeds("run", out, "--test", targets)
    assert "compiled without training" in terminal.refuses("run", out, "--train", data)
    assert "training step" not in terminal.succeeds("bench", out, "--json", "f.json")
    figures = json.loads((terminal.folder / "f.json").read_text(encoding="utf-8"))
    assert figures["step_instructions"] == 0
    assert figures["macs"]["dgrad"] == figures["macs"]["wgrad"] == 0
    assert sum(x["instructions"] for x in figures["layers"]) <= 1.05 * figures["forward_instructions"]


def test_regression(terminal: Terminal, data: Path, targets: Path) -> None:
    out = _compiled(terminal, data, "--train", "all", "--loss", "mse")
    text = terminal.succeeds("run", out, "--train", targets, "--test", targets, "--epochs", "3", "--on", "mps2-an386")
    assert "test loss: " in text
    before, after = (float(v) for v in text.split("test loss: ")[1].split("\n")[0].split(" -> "))
    assert 0 < after < before
    assert "compiled for mse: give float32 targets" in terminal.refuses("run", out, "--train", data)
    figures = terminal.succeeds("bench", out)
    assert max(map(len, figures.splitlines())) <= 80


def test_bad_records(terminal: Terminal, data: Path, targets: Path) -> None:
    out = _compiled(terminal, data, "--train", "head")
    far = write_samples(terminal.folder / "far.npz", y=np.arange(8))
    short = write_samples(terminal.folder / "short.npz", y=np.arange(7))
    real = write_samples(terminal.folder / "real.npz", y=np.zeros(8, np.float64))
    shape = write_samples(terminal.folder / "shape.npz", x=np.zeros((8, 3, 8)))
    assert "compiled for cross_entropy: give integer class" in terminal.refuses("run", out, "--train", targets)
    assert "label 7 is out of range, the classes are 0 to 2" in terminal.refuses("run", out, "--test", far)
    assert "y holds one float64 a sample" in terminal.refuses("run", out, "--train", real)
    assert "give one label a sample" in terminal.refuses("run", out, "--train", short)
    assert "the model's input wants (n, 2, 8)" in terminal.refuses("run", out, "--train", shape)
    assert "nothing to do" in terminal.refuses("run", out)
    assert "--lr nan" in terminal.refuses("run", out, "--train", data, "--lr", "nan")
    assert "did you mean host?" in terminal.refuses("run", out, "--train", data, "--on", "hosts")
    assert "host counts no instructions" in terminal.refuses("bench", out, "--on", "host")
    assert "x does not exist" in terminal.refuses("bench", out, "--json", "x/f.json")
    assert "holds no figures" in terminal.refuses("bench", out, "--json", "model.onnx")
    (out / "manifest.json").write_text("{", encoding="utf-8")
    assert "is damaged" in terminal.refuses("bench", out)


@pytest.mark.parametrize(
    ("command", "tools", "line"),
    [
        (["run", "--on", "host"], [], "gcc is not installed: run `sudo apt-get install gcc libc6-dev`"),
        (["run", "--on", "mps2-an386"], [], "arm-none-eabi-gcc is not installed: run `sudo apt-get install gcc-arm"),
        (["run", "--on", "mps2-an386"], ["arm-none-eabi-gcc", "arm-none-eabi-objdump"], "qemu-system-arm is not"),
        (["bench"], ["arm-none-eabi-gcc", "qemu-system-arm"], "apt-get install binutils-arm-none-eabi`"),
    ],
)
def test_missing_tools(terminal: Terminal, data: Path, command: list[str], tools: list[str], line: str) -> None:
    out = _compiled(terminal, data, "--train", "head")
    folder = terminal.folder / "bin"
    folder.mkdir()
    for tool in tools:
        path = shutil.which(tool)
        assert path is not None
        (folder / tool).symlink_to(path)
    terminal.patch.setenv("PATH", str(folder))
    more: list[str | Path] = ["--train", data] if command[0] == "run" else []
    assert line in terminal.refuses(command[0], out, *command[1:], *more)


# ---- signals --------------------------------------------------------------------------------------------------------
def _stopped(folder: Path, words: list[str], after: float, number: int, ready: Callable[[], bool]) -> int:
    """The exit code of a command that gets a signal `after` seconds, or not at all if it ended before."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "mcugrad", *words],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not ready() and child.poll() is None:
        time.sleep(0.01)
    time.sleep(after)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert list(scratch.iterdir()) == []
    if child.returncode:
        assert child.returncode == 128 + number, err
        assert err == "mcugrad: interrupted; nothing was written half-way\n"
    return child.returncode


def _in_python() -> Callable[[], bool]:
    """True from half a second on: the interpreter has come as far as our handler."""
    start = time.monotonic()
    return lambda: time.monotonic() - start > 0.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_compilation_leaves_the_old_folder(
    terminal: Terminal, data: Path, tmp_path: Path, number: int
) -> None:
    out = _compiled(terminal, data, "--train", "head")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    old = tree(out)
    words = ["compile", "model.onnx", "-o", "out", "--data", "data.npz", "--train", "all"]
    shutil.copytree(out, tmp_path / "keep")
    subprocess.run([sys.executable, "-m", "mcugrad", *words], cwd=terminal.folder, check=True, capture_output=True)
    new = tree(out)
    assert new != old
    codes = []
    for after in np.random.default_rng(1).uniform(0, 1.5, 6):
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "keep", out)
        code = _stopped(terminal.folder, words, float(after), number, _in_python())
        codes.append(code)
        # a signal during the exchange of the folders waits for its end: all of the new one, and still an exit code
        assert tree(out) == new if code == 0 else tree(out) in (old, new)
        assert {p.name for p in terminal.folder.iterdir()} == {"data.npz", "keep", "model.onnx", "out", "tmp"}
    assert any(codes)


def _children(name: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if name.encode() in command[0] or any(name.encode() in word for word in command):
            found.append(int(path.name))
    return found


@pytest.mark.parametrize("board", ["host", "mps2-an386"])
def test_a_stopped_run_ends_its_child(terminal: Terminal, data: Path, board: str) -> None:
    out = _compiled(terminal, data, "--train", "all")
    terminal.succeeds("run", out, "--test", data, "--on", board)
    elf = next(out.glob(f"build/{board}*/firmware.elf"))
    before = tree(out)
    words = ["run", "out", "--on", board, "--train", "data.npz", "--epochs", "1000000"]
    for after in (0.0, 0.4):
        code = _stopped(terminal.folder, words, after, signal.SIGINT, lambda: bool(_children(str(elf))))
        assert code == 130
        assert _children(str(elf)) == []
        assert tree(out) == before


def test_an_odd_model_runs(terminal: Terminal) -> None:
    """A name that is a C keyword, a folder with a space, one output."""
    b = Builder()
    x = b.node("Flatten", b.node("Relu", b.node("Conv", "x", b.random(2, 2, 3), name="a")))
    model = write_model(terminal.folder / "int.onnx", b.model((1, 2, 8), b.node("Gemm", x, b.random(12, 1), name="h")))
    data = write_samples(terminal.folder / "d.npz", y=np.zeros(8, np.int64))
    terminal.succeeds("compile", model, "-o", "a b", "--data", data, "--train", "all")
    assert "accuracy: 100.0%" in terminal.succeeds("run", "a b", "--train", data, "--test", data, "--epochs", "1")
