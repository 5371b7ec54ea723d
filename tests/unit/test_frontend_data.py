"""Sample files: what is wrong with them is said in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from frontend_graphs import Builder
from mcugrad.errors import McugradError
from mcugrad.frontend import load_npz, prepare


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    b = Builder()
    y = b.node("Gemm", b.node("Flatten", "x"), b.random(3, 8), b.random(3), transB=1)
    return prepare(b.model((1, 2, 4), y))


X = np.zeros((5, 2, 4), np.float32)
Y = np.array([0, 1, 2, 1, 0])


def _file(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_good_files(tmp_path: Path, model: onnx.ModelProto) -> None:
    samples = load_npz(_file(tmp_path, x=X.astype(np.float64), y=Y.astype(np.uint8)[:, None]), model)
    assert samples.x.dtype == np.float32
    assert samples.y is not None
    assert samples.y.dtype == np.int64
    assert samples.y.tolist() == Y.tolist()
    assert load_npz(_file(tmp_path, x=X), model, labels=False).y is None
    targets = load_npz(_file(tmp_path, x=X, y=np.ones((5, 3))), model).y
    assert targets is not None
    assert targets.dtype == np.float32
    assert load_npz(_file(tmp_path, x=X, y=Y + 5), model, classes=8).y is not None


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"x": X}, "no array 'y'"),
        ({"y": Y}, "no array 'x'"),
        ({"x": X[:, :1], "y": Y}, "(n, 2, 4)"),
        ({"x": X[0], "y": Y}, "(n, 2, 4)"),
        ({"x": X[:0], "y": Y[:0]}, "no samples"),
        ({"x": np.where(np.arange(5)[:, None, None] == 3, np.nan, X), "y": Y}, "sample 3"),
        ({"x": np.full_like(X, np.inf), "y": Y}, "infinity"),
        ({"x": np.full(X.shape, 1e300), "y": Y}, "infinity"),
        ({"x": np.full(X.shape, "a"), "y": Y}, "type"),
        ({"x": X, "y": Y[:4]}, "5 samples"),
        ({"x": X, "y": Y + 1}, "label 3 is out of range"),
        ({"x": X, "y": Y - 1}, "label -1 is out of range"),
        ({"x": X, "y": np.ones((5, 2))}, "2 targets"),
        ({"x": X, "y": np.full((5, 3), np.nan)}, "NaN"),
        ({"x": X, "y": np.array(list("abcde"))}, "type"),
        ({"x": np.array([{}] * 5, object), "y": Y}, "plain arrays"),
    ],
)
def test_bad_arrays(tmp_path: Path, model: onnx.ModelProto, arrays: dict[str, Any], word: str) -> None:
    with pytest.raises(McugradError) as caught:
        load_npz(_file(tmp_path, **arrays), model)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path: Path, model: onnx.ModelProto) -> None:
    good = _file(tmp_path, x=X, y=Y).read_bytes()
    path = tmp_path / "bad.npz"
    for content in (b"", b"text", good[: len(good) // 2], good[:-30]):
        path.write_bytes(content)
        with pytest.raises(McugradError):
            load_npz(path, model)
    with pytest.raises(McugradError, match="cannot be read"):
        load_npz(tmp_path / "none.npz", model)
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(McugradError, match="one array"):
        load_npz(tmp_path / "one.npy", model)
