"""From the user's float samples to what a compiled model takes: int8 on the input's grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad.frontend.data import load_samples
from mcugrad.simulate.session import Records


def load_records(path: Path, manifest: Mapping[str, Any]) -> Records:
    """The records of an .npz (x float32 as the ONNX input wants it, y). Raises McugradError when they do not fit."""
    outputs = int(np.prod(manifest["output"]["shape"]))
    samples = load_samples(path, tuple(manifest["input"]["onnx_shape"][1:]), outputs)
    assert samples.y is not None
    return Records(quantize_samples(samples.x, manifest), samples.y)


def quantize_samples(x: np.ndarray, manifest: Mapping[str, Any]) -> np.ndarray:
    """x (n, ...) on the input's int8 grid as QuantizeLinear rounds: half to even, saturating. int8 (n, *input)."""
    grid = manifest["input"]
    scaled = np.rint(x.astype(np.float32) / np.float32(grid["scale"])) + np.float32(grid["zero_point"])
    q = np.clip(scaled, -128, 127).astype(np.int8)
    if "axes" in grid:
        q = np.transpose(q, grid["axes"])
    return np.ascontiguousarray(q.reshape(len(x), *grid["shape"][1:]))
