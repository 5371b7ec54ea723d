"""What a device learned, outside the device: as ONNX again, or averaged with what others learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mcugrad.errors import McugradError
from mcugrad.state_file import SavedState

if TYPE_CHECKING:
    import onnx

Manifest = Mapping[str, Any]
Array = npt.NDArray[Any]
_WHAT = {"weight": "weight", "bias": "bias", "float_weight": "weight", "float_bias": "bias"}  # role -> of a layer


def trained_onnx(folder: Path, manifest: Manifest, state: bytes) -> onnx.ModelProto:
    """The QDQ graph that was compiled into `folder`, whose `manifest` this is, with the trained values of `state`
    (`<name>_state_t`).

    onnxruntime's integer operators give the device's bits on it, and compiling it again makes a device that starts
    where this one is. Raises McugradError when the folder lacks the graph.
    """
    from mcugrad import frontend
    from mcugrad.frontend.write_back import Trained, write_back
    from mcugrad.simulate.state import in_onnx_order

    path = folder / f"{manifest['name']}.onnx"
    if not path.is_file():
        raise McugradError(f"{path} is missing: compile the model again, with --train and the same mcugrad")
    values, scales = in_onnx_order(manifest, state), _scales(manifest)
    trained = [
        Trained(row["layer"], _WHAT[row["role"]], values[row["name"]], scales[row["name"]])
        for row in manifest["state"]
        if row["role"] in _WHAT
    ]
    return write_back(frontend.load_model(path), trained)


def _scales(manifest: Manifest) -> dict[str, Array]:
    """What turns the integers of a trained tensor into reals, one for each output channel, in ONNX's order."""
    stored = {t["name"]: t.get("scale", 1.0) for t in manifest["tensors"]}
    found = {}
    for row in (r for r in manifest["state"] if r["role"] in _WHAT):
        scale = np.atleast_1d(np.float32(stored[row["name"]]))
        order = row.get("channel_order", {}).get("0", range(scale.size))
        found[row["name"]] = scale[np.argsort(order)] if scale.size > 1 else scale
    return found


def merge(manifest: Manifest, states: Sequence[SavedState], weights: Sequence[float]) -> SavedState:
    """The weighted mean of states of one model, in the quantised domain: integers are averaged as integers and rounded
    half to even. Error scales take the largest, which clips for nobody; the plan of steps is the first state's.

    Raises McugradError when a weight is not positive or there is not one for each state.
    """
    if len(weights) != len(states) or not all(0 < w < float("inf") for w in weights):
        raise McugradError(f"{len(weights)} weights for {len(states)} states: give each state one, larger than 0")
    shares = np.array(weights, np.float64) / np.sum(np.array(weights, np.float64))
    merged = bytearray(states[0].state)
    for row in manifest["state"]:
        if row["role"] != "bookkeeping":
            count, offset = int(np.prod(row["shape"])), row["offset"]
            parts = np.stack([np.frombuffer(s.state, row["dtype"], count, offset) for s in states])
            value = _average(parts, shares, row["role"]).astype(row["dtype"]).tobytes()
            merged[offset : offset + len(value)] = value
    return replace(states[0], state=bytes(merged), sequence=0, erases=0)


def _average(parts: Array, shares: Array, role: str) -> Array:
    if role == "error_ratio":
        return np.asarray(parts.max(axis=0))
    mean: Array = shares @ parts.astype(np.float64)
    if parts.dtype.kind == "f":
        return mean
    limits = np.iinfo(parts.dtype)
    return np.clip(np.rint(mean), limits.min, limits.max)
