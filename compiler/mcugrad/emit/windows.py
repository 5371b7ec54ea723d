"""Which windows of depthwise convolutions a project's assembly has: those of its layers, and no flash for others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mcugrad.descriptors import is_wide
from mcugrad.program import Program, Struct
from mcugrad.resources import runtime_dir

WINDOWS = "depthwise_windows.inc"
_LINE = re.compile(r"^WINDOW\((\d+), .*\n", re.MULTILINE)


def depthwise_windows(program: Program) -> str:
    """The project's text of WINDOWS. A window that it lacks would be summed by portable C, with the same bits."""
    used = set(_windows(program))
    text = (runtime_dir() / "src" / WINDOWS).read_text(encoding="utf-8")
    return _LINE.sub(lambda line: line[0] if int(line[1]) in used else "", text)


def _windows(program: Program) -> Iterator[int]:
    """`square` of mg_depthwise_begin's windows. An input gradient has stride 1 and the kernel turned."""
    for call in program.calls:
        for conv in (part for struct in call.descriptors for part in _convolutions(struct)):
            kernel, stride, columns = conv["k_w"], conv["stride_w"], conv["out_w"]
            if call.kernel.startswith("mg_depthwise_conv2d_dgrad"):
                stride, columns = 1, conv["in_w"]
            yield kernel + stride - 1 - (2 if is_wide(kernel, stride, columns) else 0)


def _convolutions(struct: Struct) -> Iterator[dict[str, int]]:
    """Every mg_conv2d_t of more than one group in a descriptor."""
    if struct.type == "mg_conv2d_t" and dict(struct.fields).get("groups", 1) != 1:
        yield {name: value for name, value in struct.fields if isinstance(value, int)}
    for _, value in struct.fields:
        if isinstance(value, Struct):
            yield from _convolutions(value)
