"""Program -> Program in which outputs take over bytes of an input that dies there.

Elementwise outputs all of them, depthwise convolutions those of the channels that have been read.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mcugrad.descriptors import geometry, in_one_tile
from mcugrad.program import KernelCall, Kind, Program

DEPTHWISE, DEPTHWISE_DGRAD = "mg_depthwise_conv2d_rows_s8", "mg_depthwise_conv2d_dgrad_s8"


def merge_inplace(program: Program) -> Program:
    """Turn (output, input) pairs that calls allow into views where the input is an equally large arena buffer, dead
    after the call, and neither the sample nor, before the backward, the network's output."""
    for index, call in enumerate(program.calls):
        for output, source in call.inplace:
            if _may_share(program, index, output, source):
                program = replace(program, views={**program.views, output: program.root(source)})
                break
    return program


def _may_share(program: Program, index: int, output: str, source: str) -> bool:
    root = program.root(source)
    if program.root(output) != output or not program.buffers[root].in_arena:
        return False
    promised = program.calls[index].phase == "forward" and root == program.root(program.output)
    if program.buffers[root].kind is Kind.INPUT or promised:
        return False
    same_size = program.buffers[root].nbytes == program.buffers[output].nbytes
    return same_size and program.lifetimes()[root][1] == index


def overlap_channels(program: Program) -> Program:
    """Let outputs of depthwise convolutions and of their gradients by the input grow over what they read."""
    found = (_channels_apart(call) for call in program.calls if call.kernel in (DEPTHWISE, DEPTHWISE_DGRAD))
    return replace(program, overlaps=(*program.overlaps, *(overlap for overlap in found if overlap is not None)))


def _channels_apart(call: KernelCall) -> tuple[str, str, int] | None:
    """(output, input, bytes by which that must begin behind it); None where channels are read in several tiles."""
    if not reads_channels_whole(call):
        return None
    read, written = (math.prod(_dims(call, side)) for side in _sides(call))
    return call.writes[0], call.reads[0], max(0, written - read)


def reads_channels_whole(call: KernelCall) -> bool:
    """Whether a depthwise convolution, or its gradient by the input, has read all of a channel before it writes any."""
    g = geometry(call)
    strides = (1, 1) if call.kernel == DEPTHWISE_DGRAD else (g["stride_h"], g["stride_w"])
    attrs = {"stride": strides, "dilation": (g["dilation_h"], g["dilation_w"])}
    return in_one_tile((1, 1, g["k_h"], g["k_w"]), (1, *_dims(call, _sides(call)[1])), attrs)


def _sides(call: KernelCall) -> tuple[str, str]:
    """Which side of the geometry is read and which written: a gradient is a forward from the errors."""
    return ("out", "in") if call.kernel == DEPTHWISE_DGRAD else ("in", "out")


def _dims(call: KernelCall, side: str) -> tuple[int, int, int]:
    g = geometry(call)
    return g[f"{side}_c"], g[f"{side}_h"], g[f"{side}_w"]
