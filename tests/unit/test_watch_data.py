"""The smartwatch recordings: what their loader refuses, and that no held-out window was seen in training."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.watch import data


def npy(content: bytes) -> io.BytesIO:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    file.write(content)
    file.seek(0)
    return file


class Call:
    """Pickles into a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.made


def touch(path: str) -> None:
    Path(path).touch()


def test_arrays_and_containers_are_read() -> None:
    table: dict[str, Any] = {"X": [np.arange(6.0).reshape(3, 2)], "y": np.array([1, 2]), "names": ["a"]}
    loaded = data.load_object_npy(npy(pickle.dumps(np.array(table, dtype=object), protocol=2)))
    assert isinstance(loaded, dict)
    np.testing.assert_array_equal(loaded["X"][0], table["X"][0])
    np.testing.assert_array_equal(loaded["y"], table["y"])


@pytest.mark.parametrize("protocol", range(5))
def test_a_malicious_pickle_is_refused_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    hostile: list[Any] = [
        Call(os.system, f"touch '{mark}'"),
        Call(eval, f"open({str(mark)!r}, 'w')"),
        Call(getattr, Path, "unlink"),
        Call(touch, str(mark)),
        np.array([Call(os.system, f"touch '{mark}'")], dtype=object),
    ]
    for value in hostile:
        with pytest.raises(data.DataError, match="refused"):
            data.load_object_npy(npy(pickle.dumps(value, protocol=protocol)))
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n((I1\ntR.",  # calling the class itself, which could take a buffer
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I9\ntS'O'\ntR.",  # an uninitialised array
        b"cnumpy\ndtype\n(S'V64'\nI0\nI1\ntR.",
        b"c_codecs\nencode\n(Va\nS'hex'\ntR.",
        b"cnumpy\nsave\n.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"Pabc\n.",
        b"",
        b"\x80\x02}",
    ],
)
def test_odd_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(data.DataError, match="refused"):
        data.load_object_npy(npy(content))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "watch_dataset.npy"
    path.write_bytes(npy(pickle.dumps({})).getvalue())
    with pytest.raises(data.DataError, match="SHA-256"):
        data.load_recordings(path)
    with pytest.raises(data.DataError, match="1.0"):
        data.load_object_npy(io.BytesIO(b"not an array"))


def recordings() -> list[data.Recording]:
    """Made-up recordings whose first channel is the sample's own number, so that a window tells where it was cut."""
    made = []
    for subject in data.SUBJECTS:
        for exercise in range(7):
            signal = np.random.default_rng(subject).normal(size=(1000 + 13 * exercise, 6))
            signal[:, 0] = np.arange(len(signal))
            made.append(data.Recording(signal, exercise, subject, 0))
    return made


def test_held_out_windows_share_no_sample_with_training_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "CLIP", np.inf)
    made = recordings()
    norm = data.normalisation([r for r in made if r.subject != 2])
    (train, train_y), (test, test_y) = data.wearer_windows(made, 2)
    assert train.dtype == np.float32
    assert train.shape[1:] == (6, data.WINDOW)
    for exercise in range(7):
        seen, held = (
            np.rint(part[:, 0] * norm.std[0] + norm.mean[0]).astype(int)
            for part in (train[train_y == exercise], test[test_y == exercise])
        )
        assert seen.max() < held.min()
        for cut in (seen, held):
            assert len(np.unique(cut)) == cut.size


def test_normalisation_knows_nothing_of_the_wearer() -> None:
    made = recordings()
    changed = [r if r.subject != 2 else data.Recording(r.signal * 100, r.exercise, 2, r.side) for r in made]
    x, _ = data.others_windows(made, 2)
    np.testing.assert_array_equal(x, data.others_windows(changed, 2)[0])
    np.testing.assert_array_equal(data.calibration_windows(made, 2, 9)[0], data.calibration_windows(changed, 2, 9)[0])
    assert np.abs(data.wearer_windows(changed, 2)[1][0]).max() == data.CLIP


def test_files_hold_what_the_compiler_reads(tmp_path: Path) -> None:
    paths = data.wearer_npz(10, tmp_path / "new", recordings())
    assert sorted(paths) == ["calib", "test", "train"]
    for path in paths.values():
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays["x"].dtype == np.float32
            assert arrays["y"].dtype == np.int64
            assert arrays["x"].shape == (len(arrays["y"]), 6, data.WINDOW)


def test_the_real_recordings() -> None:
    """seglearn is part of the test environment: a data file, no import of it."""
    real = data.load_recordings()
    assert len(real) == 140
    assert {r.subject for r in real} == set(data.SUBJECTS)
    assert {r.exercise for r in real} == set(range(7))
    for subject in data.UNSEEN_SUBJECTS:
        train, test = data.wearer_windows(real, subject)
        assert 120 <= len(train[1]) <= 150
        assert set(train[1]) == set(test[1]) == set(range(7))
        assert np.isfinite(train[0]).all()
    with pytest.raises(data.DataError, match="no subject 11"):
        data.wearer_windows(real, 11)
