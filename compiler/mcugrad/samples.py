"""From the user's float samples to what a compiled model takes: int8 on the input's grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad.errors import McugradError
from mcugrad.frontend.data import load_samples
from mcugrad.simulate.session import Records


def load_records(path: Path, manifest: Mapping[str, Any]) -> Records:
    """The records of an .npz (x float32 as the ONNX input wants it, y), x as int8.

    y is int64 (n,) class indices, or float32 (n, outputs) targets. The loss of the compiled model decides which; one
    that does not train takes both. Raises McugradError when the file does not fit.
    """
    outputs = int(np.prod(manifest["output"]["shape"]))
    samples = load_samples(path, tuple(manifest["input"]["onnx_shape"][1:]), outputs)
    assert samples.y is not None
    _check_kind(samples.y, manifest["loss"], path)
    return Records(quantize_samples(samples.x, manifest), samples.y)


def _check_kind(y: np.ndarray, loss: str | None, path: Path) -> None:
    labels = bool(np.issubdtype(y.dtype, np.integer))
    if loss == "cross_entropy" and not labels:
        raise McugradError(
            f"{path}: y holds {y.dtype} targets, and the model was compiled for cross_entropy: give integer class "
            "indices, or compile it with --loss mse"
        )
    if loss == "mse" and labels:
        raise McugradError(
            f"{path}: y holds class indices, and the model was compiled for mse: give float32 targets, one for every "
            "output, or compile it with --loss cross_entropy"
        )


def quantize_samples(x: np.ndarray, manifest: Mapping[str, Any]) -> np.ndarray:
    """x (n, ...) on the input's int8 grid as QuantizeLinear rounds: half to even, saturating. int8 (n, *input), or
    (n, rows, channels, width) for a model that takes its sample in rows."""
    grid = manifest["input"]
    scaled = np.rint(x.astype(np.float32) / np.float32(grid["scale"])) + np.float32(grid["zero_point"])
    q = np.clip(scaled, -128, 127).astype(np.int8)
    if "axes" in grid:
        q = np.transpose(q, grid["axes"])
    q = q.reshape(len(x), *grid["shape"][1:])
    if grid.get("order") == "rows":
        q = np.moveaxis(q, 1, 2)  # row by row of all channels
    return np.ascontiguousarray(q)
