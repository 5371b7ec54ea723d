"""Drives the command line as its users do, inside this process, and looks at everything it leaves."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from frontend_graphs import Builder
from mcugrad import cli

CLASSES = 3


@dataclass(frozen=True)
class Answer:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str


class Terminal:
    """`terminal("compile", model, ...)` runs a command in `folder`; bytes written by C libraries are seen too."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.capture, self.patch, self.folder = capture, patch, folder

    def __call__(self, *arguments: str | Path) -> Answer:
        self.patch.chdir(self.folder)
        self.patch.setattr("sys.argv", ["mcugrad"])
        self.patch.setenv("COLUMNS", "80")
        self.capture.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([str(a) for a in arguments])
        out, err = self.capture.readouterr()
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, out, err)

    def succeeds(self, *arguments: str | Path) -> str:
        """stdout of a command that must end well and silently."""
        answer = self(*arguments)
        assert (answer.code, answer.err) == (0, "")
        return answer.out

    def refuses(self, *arguments: str | Path) -> str:
        """The sentence of a command that must be refused: exit code 2, one line, and nothing written anywhere."""
        with nothing_written(self.folder):
            answer = self(*arguments)
        assert answer.code == 2, answer
        assert answer.out == ""
        assert answer.err.startswith("mcugrad: error: ")
        assert answer.err.count("\n") == 1, answer.err
        assert "Traceback" not in answer.err
        return answer.err.removeprefix("mcugrad: error: ").rstrip("\n")


@pytest.fixture
def terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Terminal:
    return Terminal(capfd, monkeypatch, tmp_path)


def tree(folder: Path) -> dict[str, str]:
    """Every path under `folder` with a digest of what it is."""
    return {str(p.relative_to(folder)): _digest(p) for p in sorted(folder.rglob("*"))}


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def nothing_written(folder: Path) -> Iterator[None]:
    """`folder` is the same afterwards, and no temporary file is left where temporary files go."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", scratch)
        patch.setenv("TMPDIR", scratch)
        before = tree(folder)
        yield
        assert tree(folder) == before
        assert list(Path(scratch).iterdir()) == []


def network(shape: tuple[Any, ...] = ("batch", 2, 8), *, channels: int = 4, last: str = "Relu") -> onnx.ModelProto:
    """stem (Conv, `last`) and head (Gemm to 3 classes) over two channels of eight samples."""
    b = Builder()
    x = b.node("Conv", "x", b.random(channels, 2, 3), b.random(channels), name="stem", pads=[1, 1])
    x = b.node(last, x, name="stem.act")
    x = b.node("GlobalAveragePool", x, name="mean")
    x = b.node("Flatten", x, name="flatten")
    return b.model(shape, b.node("Gemm", x, b.random(CLASSES, channels), b.random(CLASSES), name="head", transB=1))


def write_samples(path: Path, n: int = 8, **replace: Any) -> Path:
    """x (n, 2, 8) and labels y; `replace` gives other arrays."""
    rng = np.random.default_rng(3)
    arrays = {"x": rng.standard_normal((n, 2, 8)).astype(np.float32), "y": np.arange(n) % CLASSES, **replace}
    np.savez(path, **arrays)
    return path


def write_model(path: Path, model: onnx.ModelProto | None = None) -> Path:
    """The network above, or another one, as a file."""
    path.write_bytes((model or network()).SerializeToString())
    return path
