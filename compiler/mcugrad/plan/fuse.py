"""Program -> Program in which a convolution and the depthwise convolution after it run channel by channel.

The tensor between them, the widest of an inverted bottleneck, then never exists: one of its channels does, as scratch.
It costs nothing, since a depthwise output channel reads one input channel only; it is possible where nobody else reads
the tensor, neither a second branch nor the backward.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mcugrad.program import Argument, Buffer, KernelCall, Kind, Program, Ref, Struct

FIRST, SECOND, FUSED = "mg_conv2d_s8", "mg_depthwise_conv2d_rows_s8", "mg_conv2d_depthwise_s8"


def fuse_depthwise(program: Program) -> Program:
    """Merge every such pair of neighbours."""
    readers = Counter(program.root(n) for call in program.calls for n in set(call.reads))
    buffers = dict(program.buffers)
    calls: list[KernelCall] = []
    for call in program.calls:
        if calls and _fits(program, calls[-1], call, readers):
            first = calls.pop()
            plane = _plane(program, first)
            buffers[plane.name] = plane
            calls.append(_fused(first, call, plane.name))
        else:
            calls.append(call)
    return replace(program, buffers=buffers, calls=tuple(calls))


def _fits(program: Program, first: KernelCall, second: KernelCall, readers: Counter[str]) -> bool:
    if (first.kernel, second.kernel) != (FIRST, SECOND):
        return False
    (between,) = first.writes
    alone = readers[between] == 1 and second.reads[0] == between and program.root(program.output) != between
    return alone and dict(_geometry(first).fields)["groups"] == 1


def _geometry(call: KernelCall) -> Struct:
    geometry = call.args[0]
    assert isinstance(geometry, Struct)
    return geometry


def _plane(program: Program, first: KernelCall) -> Buffer:
    between = program.buffers[first.writes[0]]
    _, _, height, width = between.shape
    return replace(between, name=f"{between.name}.plane", shape=(1, 1, height, width), kind=Kind.ACTIVATION)


def _fused(first: KernelCall, second: KernelCall, plane: str) -> KernelCall:
    rows, _, _, _, weights, scratch, y = second.args
    assert isinstance(rows, Struct)
    geometry = dict(rows.fields)["conv"]
    assert isinstance(geometry, Struct)
    args: tuple[Argument, ...] = (_geometry(first), geometry, first.args[1], _weights(first), weights)
    return replace(
        second,
        kernel=FUSED,
        layer=f"{first.layer}+{second.layer}",
        args=(*args, Ref(plane), scratch, y),
        reads=(*first.reads, *second.reads[1:], plane),
        writes=(plane, *second.writes),
        macs=first.macs + second.macs,
    )


def _weights(call: KernelCall) -> Struct:
    refs = [a for a in call.args[2:5] if isinstance(a, Ref)]
    return Struct("mg_weights_t", tuple(zip(("w", "bias", "scale"), refs, strict=True)))
