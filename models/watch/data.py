"""Smartwatch recordings of shoulder exercises, cut into windows (PyPI `seglearn` 1.2.5, BSD licence; arXiv:1802.01489).

140 recordings at 50 Hz: 10 subjects (1..10) x 7 exercises x 2 arms, 19 to 52 s each, 6 channels (acceleration in g:
ax ay az; rotation in rad/s: wx wy wz). A sample is a window of 2 s, float32 (6, 100), normalised per channel with
the mean and standard deviation of every subject but the wearer and clipped to +-4: the wearer is unknown when the watch
is built, and an int8 input scale shared by six channels must not be spent on rare jerks of up to 28 deviations.

A wearer's recordings are split by time, each one alike: the first half trains, the second is held out. Windows are cut
inside one part, so no held-out window shares a sample with a training window, and the device is judged on movements
made after those it learned from.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import pickle
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 50
WINDOW = 100  # samples in a window: 2 s, about half a repetition of an exercise
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
EXERCISES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
SUBJECTS = tuple(range(1, 11))
UNSEEN_SUBJECTS = (2, 10)
VALIDATION_SUBJECTS = (1, 3, 4, 5, 6, 7, 8, 9)  # stand-in wearers for choosing hyper-parameters
CLIP = 4.0  # standard deviations
WEARER_TRAIN_SHARE = 0.5  # of each recording's time
_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
_DTYPE = re.compile(r"[<>|=]?(O8?|[fiu][1248]|[SU][0-9]{1,3})")

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class DataError(ValueError):
    """The recordings are missing or are not what this module knows; the message says what to do."""


@dataclass(frozen=True)
class Recording:
    """One exercise, one arm of one subject: `signal` is float64 (samples, 6) at 50 Hz, `exercise` indexes EXERCISES."""

    signal: NDArray[np.float64]
    exercise: int
    subject: int
    side: int


@dataclass(frozen=True)
class Normalisation:
    """Per-channel `mean` and `std`, float64 (6,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def __call__(self, signal: NDArray[np.float64]) -> Floats:
        """(samples, 6) in g and rad/s -> float32 (samples, 6) in standard deviations, within +-CLIP."""
        return np.clip((signal - self.mean) / self.std, -CLIP, CLIP).astype(np.float32)


# ---- the file: a pickle inside an .npy -------------------------------------------------------------------------------


class _NdarrayName:
    """Stands for the class numpy.ndarray inside a pickle: it can be named, but not called."""


def _reconstruct(cls: object, shape: object, code: object) -> NDArray[Any]:
    if cls is not _ndarray or shape != (0,) or code != b"b":
        raise pickle.UnpicklingError("an array that is not reconstructed the usual way")
    empty: NDArray[Any] = np.ndarray((0,), np.int8)
    return empty  # its pickled state follows and fills it


def _dtype(spec: object, align: object = 0, copy: object = 1) -> np.dtype[Any]:
    if not isinstance(spec, str) or not _DTYPE.fullmatch(spec):
        raise pickle.UnpicklingError(f"the data type {spec!r}")
    return np.dtype(spec, align=False, copy=True)


def _encode(text: object, encoding: object) -> bytes:
    # Python 2 style bytes: protocol 2 stores them as latin-1 text.
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"the encoding {encoding!r}")
    return text.encode("latin1")


_ndarray = _NdarrayName()
_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}


class _NumpyOnlyUnpickler(pickle.Unpickler):
    """Knows the four names a pickled array is made of, each replaced by a function that checks its arguments."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"the name {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a persistent id")


def load_object_npy(file: BinaryIO) -> object:
    """Read the one Python object of a 0-d object `.npy`, made of NumPy arrays and plain containers only.

    Raises DataError when the file is no such `.npy` or its pickle asks for anything else; nothing of it has run then.
    """
    try:
        if file.read(8) != b"\x93NUMPY\x01\x00":
            raise DataError("the recordings are not a version 1.0 .npy file; install seglearn==1.2.5 again")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if shape != () or dtype != np.dtype(object):
            raise DataError(
                f"the recordings are an array {shape} of {dtype}, not one object; install seglearn==1.2.5 again"
            )
        loaded = _NumpyOnlyUnpickler(file).load()
    except DataError:
        raise
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        raise DataError(f"the recordings ask for more than NumPy arrays and were refused: {error}") from error
    return loaded.item() if isinstance(loaded, np.ndarray) and loaded.shape == () else loaded


def watch_file() -> Path:
    """Path of the recordings in the installed `seglearn`, found without importing it (that needs scipy)."""
    spec = importlib.util.find_spec("seglearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "data" / "watch_dataset.npy"
        if path.is_file():
            return path
    raise DataError("the smartwatch recordings are not installed: pip install --no-deps seglearn==1.2.5")


def load_recordings(path: Path | None = None) -> list[Recording]:
    """All 140 recordings, in the file's order. Raises DataError for any file but that of seglearn 1.2.5."""
    path = path or watch_file()
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise DataError(
            f"{path.name} is not the file of seglearn 1.2.5 (SHA-256 differs): install seglearn==1.2.5 again"
        )
    table = load_object_npy(io.BytesIO(content))
    assert isinstance(table, dict)  # the digest above fixes the content
    if tuple(table["X_labels"]) != CHANNELS or tuple(table["y_labels"]) != EXERCISES:
        raise DataError(f"{path.name} names other channels or exercises than expected: install seglearn==1.2.5 again")
    rows = zip(table["X"], table["y"], table["subject"], table["side"], strict=True)
    return [Recording(np.asarray(x, np.float64), int(y), int(subject), int(side)) for x, y, subject, side in rows]


# ---- windows ---------------------------------------------------------------------------------------------------------


def normalisation(recordings: Iterable[Recording]) -> Normalisation:
    """Mean and standard deviation of each channel over all samples of `recordings`."""
    signal = np.concatenate([recording.signal for recording in recordings])
    return Normalisation(signal.mean(axis=0), signal.std(axis=0))


def windows(
    recordings: Sequence[Recording], normalise: Normalisation, step: int = WINDOW, start: float = 0.0, stop: float = 1.0
) -> tuple[Floats, Labels]:
    """Windows of WINDOW samples every `step` samples, inside the share start..stop of each recording's time.

    Returns x float32 (n, 6, WINDOW) and y int64 (n,), recording by recording. A window never leaves its share.
    """
    xs: list[Floats] = []
    ys: list[int] = []
    for recording in recordings:
        count = len(recording.signal)
        signal = normalise(recording.signal[int(count * start) : int(count * stop)])
        for first in range(0, len(signal) - WINDOW + 1, step):
            xs.append(np.ascontiguousarray(signal[first : first + WINDOW].T))
            ys.append(recording.exercise)
    if not xs:
        raise DataError(f"no recording holds a window of {WINDOW} samples in the share {start}..{stop} of its time")
    return np.stack(xs), np.array(ys, np.int64)


def _others(recordings: Iterable[Recording], subject: int, exclude: Sequence[int] = ()) -> list[Recording]:
    if subject not in SUBJECTS:
        raise DataError(f"there is no subject {subject}; subjects are {SUBJECTS[0]} to {SUBJECTS[-1]}")
    return [recording for recording in recordings if recording.subject != subject and recording.subject not in exclude]


def others_windows(
    recordings: Sequence[Recording], subject: int, step: int = WINDOW // 4, exclude: Sequence[int] = ()
) -> tuple[Floats, Labels]:
    """Windows of every subject but `subject` and those in `exclude`, overlapping unless `step` >= WINDOW."""
    others = _others(recordings, subject, exclude)
    return windows(others, normalisation(others), step)


def wearer_windows(
    recordings: Sequence[Recording], subject: int, share: float = WEARER_TRAIN_SHARE, exclude: Sequence[int] = ()
) -> tuple[tuple[Floats, Labels], tuple[Floats, Labels]]:
    """((x, y) to train on, (x, y) held out) of the wearer `subject`; no two windows share a sample."""
    normalise = normalisation(_others(recordings, subject, exclude))
    own = [recording for recording in recordings if recording.subject == subject]
    return windows(own, normalise, stop=share), windows(own, normalise, start=share)


def calibration_windows(
    recordings: Sequence[Recording], subject: int, count: int = 256, seed: int = 0
) -> tuple[Floats, Labels]:
    """`count` windows of the other nine subjects, drawn without replacement: what is known before the watch is worn."""
    x, y = others_windows(recordings, subject, WINDOW)
    if not 0 < count <= len(y):
        raise DataError(f"{count} calibration windows were asked for, {len(y)} exist")
    chosen = np.sort(np.random.default_rng(seed).choice(len(y), count, replace=False))
    return x[chosen], y[chosen]


# ---- files -----------------------------------------------------------------------------------------------------------


def _save(path: Path, arrays: tuple[Floats, Labels]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=arrays[0], y=arrays[1])
    return path


def calibration_npz(
    subject: int, path: Path, recordings: Sequence[Recording] | None = None, count: int = 256, seed: int = 0
) -> Path:
    """Write calibration data for the watch of unseen `subject`: x float32 (count, 6, 100), y int64 (count,)."""
    return _save(path, calibration_windows(recordings or load_recordings(), subject, count, seed))


def wearer_npz(
    subject: int, folder: Path, recordings: Sequence[Recording] | None = None, share: float = WEARER_TRAIN_SHARE
) -> dict[str, Path]:
    """Write train-N.npz, test-N.npz, calib-N.npz, N = `subject`; returns their paths by "train", "test", "calib"."""
    recordings = recordings or load_recordings()
    train, test = wearer_windows(recordings, subject, share)
    return {
        "train": _save(folder / f"train-{subject}.npz", train),
        "test": _save(folder / f"test-{subject}.npz", test),
        "calib": calibration_npz(subject, folder / f"calib-{subject}.npz", recordings),
    }


def main(arguments: Sequence[str] | None = None, write: Callable[[str], None] = print) -> None:
    """`python -m models.watch.data FOLDER`: write the three files of each unseen subject."""
    parser = argparse.ArgumentParser(description="write the wearer's windows as .npz files")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subject", type=int, nargs="+", default=list(UNSEEN_SUBJECTS))
    options = parser.parse_args(arguments)
    recordings = load_recordings()
    for subject in options.subject:
        for name, path in wearer_npz(subject, options.folder, recordings).items():
            with np.load(path) as arrays:
                write(f"subject {subject} {name}: {path} x {arrays['x'].shape} per class {np.bincount(arrays['y'])}")


if __name__ == "__main__":
    main()
