"""Which windows of depthwise convolutions a project can sum: those of its layers, and no flash for others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mcugrad.descriptors import is_wide
from mcugrad.program import Program, Struct
from mcugrad.resources import runtime_dir

WINDOWS = "depthwise_windows.inc"
KERNELS = (3, 5, 7)
_LINE = re.compile(r"^WINDOW\((\d+), .*\n", re.MULTILINE)


def depthwise_windows(program: Program) -> str:
    """The project's text of WINDOWS."""
    used = set(_windows(program))
    text = (runtime_dir() / "src" / WINDOWS).read_text(encoding="utf-8")
    return _LINE.sub(lambda line: line[0] if int(line[1]) in used else "", text)


def _windows(program: Program) -> Iterator[int]:
    for call in program.calls:
        turned = call.kernel.startswith("mg_depthwise_conv2d_dgrad")
        for conv in (part for struct in call.descriptors for part in _convolutions(struct)):
            yield window(conv, turned=turned)


def window(conv: Mapping[str, int], *, turned: bool) -> int:
    """`square` of mg_depthwise_begin: the assembly's window, 0 for what it does not know. `turned`: of the gradient by
    the input, whose stride is 1."""
    kernel, stride, columns = conv["k_w"], conv["stride_w"], conv["out_w"]
    if turned:
        stride, columns = 1, conv["in_w"]
    known = (
        kernel == conv["k_h"] and kernel in KERNELS and stride <= 2 and conv["dilation_h"] == conv["dilation_w"] == 1
    )
    in_groups = (kernel, stride) == (3, 2)
    if not known or (in_groups and (conv["in_w"] < 3 or conv["pad_left"] > 3)):
        return 0
    return kernel + stride - 1 - (2 if is_wide(kernel, stride, columns) else 0)


def _convolutions(struct: Struct) -> Iterator[dict[str, int]]:
    """Every mg_conv2d_t of more than one group in a descriptor."""
    if struct.type == "mg_conv2d_t" and dict(struct.fields).get("groups", 1) != 1:
        yield {name: value for name, value in struct.fields if isinstance(value, int)}
    for _, value in struct.fields:
        if isinstance(value, Struct):
            yield from _convolutions(value)
