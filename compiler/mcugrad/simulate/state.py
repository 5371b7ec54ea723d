"""The tensors of a state's bytes, as its manifest says."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def tensors(manifest: Mapping[str, Any], state: bytes) -> dict[str, npt.NDArray[Any]]:
    """By name, in the program's order of channels. Weights of which the device holds only what trains are whole: the
    manifest has their frozen input channels."""
    return {row["name"]: _whole(row, state) for row in manifest["state"]}


def in_onnx_order(manifest: Mapping[str, Any], state: bytes) -> dict[str, npt.NDArray[Any]]:
    """The same, with the channels in ONNX's order."""
    found = tensors(manifest, state)
    for row in manifest["state"]:
        for axis, order in row.get("channel_order", {}).items():
            found[row["name"]] = found[row["name"]].take(np.argsort(order), int(axis))
    return found


def _whole(row: Mapping[str, Any], state: bytes) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.frombuffer(state, row["dtype"], int(np.prod(row["shape"])), row["offset"]).reshape(
        row["shape"]
    )
    if "frozen" not in row:
        return values
    frozen = np.frombuffer(base64.b64decode(row["frozen"]["base64"]), row["dtype"])
    return np.concatenate([values, frozen.reshape(row["frozen"]["shape"])], axis=1)
