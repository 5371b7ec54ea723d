"""ONNX window attributes of Conv and pools as the operators take them: always two axes, explicit pads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def _pair(values: Sequence[int], missing: int) -> list[int]:
    """Two axes; 1-D data has one row."""
    return [missing, *values] if len(values) == 1 else list(values)


def _pads(values: Sequence[int]) -> list[int]:
    """(top, left, bottom, right)."""
    return [0, values[0], 0, values[1]] if len(values) == 2 else list(values)


def conv_attrs(attrs: dict[str, Any], axes: int) -> dict[str, Any]:
    """stride, dilation, pads, groups of a Conv over `axes` spatial axes."""
    return {
        "stride": _pair(attrs.get("strides", [1] * axes), 1),
        "dilation": _pair(attrs.get("dilations", [1] * axes), 1),
        "pads": _pads(attrs.get("pads", [0] * (2 * axes))),
        "groups": int(attrs.get("group", 1)),
    }


def pool_attrs(attrs: dict[str, Any], size: Sequence[int], axes: int) -> dict[str, Any]:
    """kernel, stride, dilation, pads, count_pad and out_size of a pool on an input of (height, width) `size`."""
    kernel = _pair(attrs["kernel_shape"], 1)
    stride = _pair(attrs.get("strides", [1] * axes), 1)
    dilation = _pair(attrs.get("dilations", [1] * axes), 1)
    pads = _pads(attrs.get("pads", [0] * (2 * axes)))
    ceil = bool(attrs.get("ceil_mode", 0))
    ends = (pads[0], pads[2]), (pads[1], pads[3])
    out = [_positions(*values, ceil) for values in zip(size, kernel, stride, dilation, ends, strict=True)]
    window = {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads, "out_size": out}
    return {**window, "count_pad": int(attrs.get("count_include_pad", 0))}


def _positions(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], ceil: bool) -> int:
    span = size + sum(pads) - dilation * (kernel - 1) - 1
    if not ceil:
        return span // stride + 1
    count = -(-span // stride) + 1
    # a window that starts in the padding after the input does not count (ONNX, PyTorch)
    return count - 1 if (count - 1) * stride >= size + pads[0] else count
