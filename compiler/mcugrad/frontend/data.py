"""Sample files: .npz with x (float32, as the model's input wants it) and y (class indices or float targets)."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mcugrad.errors import McugradError
from mcugrad.frontend.external import MAX_BYTES
from mcugrad.frontend.graph import Array


@dataclass(frozen=True)
class Samples:
    """x (n, *input shape) float32; y int64 (n,) class indices, float32 (n, outputs) targets, or None."""

    x: Array
    y: Array | None


def input_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    """The shape of one sample, without the batch."""
    return tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)[1:]


def output_size(model: onnx.ModelProto) -> int:
    """Values that the model gives for one sample."""
    dims = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    return int(np.prod(dims))


def load_samples(path: str | Path, shape: tuple[int, ...], outputs: int) -> Samples:
    """As `load_npz`, checked against the shape of one sample and the number of outputs of a compiled model."""
    arrays = _read(Path(path), ("x", "y"))
    x = _check_samples(arrays["x"], shape, str(path))
    return Samples(x, check_labels(arrays["y"], len(x), outputs, str(path)))


def load_npz(path: str | Path, model: onnx.ModelProto, *, labels: bool = True, classes: int | None = None) -> Samples:
    """The samples of a file, checked against the model; `labels` asks for y, `classes` replaces the model's outputs.

    Integer y are class indices below `classes`, float y are targets of the output's size. Raises McugradError.
    """
    arrays = _read(Path(path), ("x", "y") if labels else ("x",))
    x = check_samples(arrays["x"], model, str(path))
    if not labels:
        return Samples(x, None)
    return Samples(x, check_labels(arrays["y"], len(x), classes or output_size(model), str(path)))


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise McugradError(f"{path} holds one array; save x and y with numpy.savez")
        with loaded as file:
            missing = [key for key in keys if key not in file.files]
            if missing:
                raise McugradError(
                    f"{path} has no array '{missing[0]}' but {file.files}; save x and y with numpy.savez"
                )
            unpacked = sum(item.file_size for item in file.zip.infolist()) if file.zip is not None else 0
            if unpacked > 16 * MAX_BYTES:
                raise McugradError(f"{path} unpacks to more than {16 * MAX_BYTES:,} bytes; give fewer samples")
            return {key: file[key] for key in keys}
    except OSError as error:
        raise McugradError(f"{path} cannot be read ({error.strerror or error}); give an .npz file") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        # numpy takes what it does not know for a pickle, and advises to trust it
        reason = error if zipfile.is_zipfile(path) else "no zip archive"
        raise McugradError(
            f"{path} is no .npz file of plain arrays ({reason}); save x and y with numpy.savez"
        ) from error


def check_samples(x: Array, model: onnx.ModelProto, where: str) -> Array:
    """x as contiguous float32 (n, *input shape). Raises McugradError if it is empty, misshapen or not finite."""
    return _check_samples(x, input_shape(model), where)


def _check_samples(x: Array, wanted: tuple[int, ...], where: str) -> Array:
    if x.dtype.kind not in "fiub":
        raise McugradError(f"{where}: x has the type {x.dtype}; give numbers as the model's input wants them (float32)")
    if x.ndim != len(wanted) + 1 or tuple(x.shape[1:]) != wanted:
        raise McugradError(
            f"{where}: x has the shape {x.shape}, the model's input wants (n, {', '.join(map(str, wanted))}); "
            "reshape the samples"
        )
    if len(x) == 0:
        raise McugradError(f"{where}: x holds no samples; give at least one")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(values).all():
        bad = int(np.nonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0][0])
        raise McugradError(f"{where}: sample {bad} of x holds NaN or infinity; clean the data")
    return values


def check_labels(y: Array, count: int, outputs: int, where: str) -> Array:
    """y as int64 (n,) below `outputs` or float32 (n, outputs). Raises McugradError."""
    if len(y.shape) == 0 or len(y) != count:
        raise McugradError(f"{where}: y has the shape {y.shape} for {count} samples of x; give one label a sample")
    if y.dtype.kind in "iub":
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise McugradError(f"{where}: integer y has the shape {y.shape}; give class indices (n,) or float targets")
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= outputs:
            wrong = low if low < 0 else high
            raise McugradError(
                f"{where}: label {wrong} is out of range, the classes are 0 to {outputs - 1}; see --classes"
            )
        return np.ascontiguousarray(y, dtype=np.int64)
    if y.dtype.kind != "f":
        raise McugradError(f"{where}: y has the type {y.dtype}; give integer class indices or float targets")
    flat = y.reshape(count, -1).astype(np.float32)
    if flat.shape[1] == 1 != outputs:
        raise McugradError(
            f"{where}: y holds one {y.dtype} a sample, the model gives {outputs} outputs; give integer class indices, "
            f"or {outputs} targets a sample"
        )
    if flat.shape[1] != outputs:
        raise McugradError(f"{where}: y has {flat.shape[1]} targets a sample, the model gives {outputs}; give as many")
    if not np.isfinite(flat).all():
        raise McugradError(f"{where}: y holds NaN or infinity; clean the targets")
    return np.ascontiguousarray(flat)
