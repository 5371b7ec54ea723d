"""Program -> Program in which dense convolutions multiply panels (mg_conv2d_rows_s8, mg_conv2d_panels_s8).

A panel is four output positions, expanded to int16 once for all output channels: scratch that lives for one call.
The panels meet weights in pairs. These cost nothing but an order in flash, which every reader must know:
`packed_weights` says whose it is. Others are brought into pairs by the call, once for as many panels as its scratch
holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mcugrad.descriptors import conv2d_rows, geometry, layout, split_weights, weights
from mcugrad.plan.gradients import is_pointwise_dgrad
from mcugrad.plan.room import panels_at_once, room_of_calls
from mcugrad.program import Argument, Buffer, KernelCall, Kind, Program, Ref, Struct, Value

CONVOLUTION, ONE_POSITION = "mg_conv2d_s8", "mg_fully_connected_s8"
UNPACKED = "mg_conv2d_panels_s8"
POSITIONS = {CONVOLUTION: 4, ONE_POSITION: 1}


def use_panels(program: Program) -> Program:
    """Pack the weights that can be, and give their readers scratch and the kernels that expect pairs."""
    packed, buffers, calls = packed_weights(program), dict(program.buffers), []
    for name in packed:
        buffers[name] = _in_pairs(buffers[name])
    for call in program.calls:
        if not is_dense(call) or call.reads[1] not in packed:
            calls.append(call)
            continue
        taps = buffers[call.reads[1]].shape[1]
        shape = (POSITIONS[call.kernel] * taps,)
        scratch = Buffer(f"{call.writes[0]}.panel", "int16", shape, Kind.SCRATCH, call.layer)
        buffers[scratch.name] = scratch
        calls.append(_with_panel(program, call, scratch.name))
    return replace(program, buffers=buffers, calls=tuple(calls))


def use_panels_of_unpacked(program: Program, arena: int = 0) -> Program:
    """The same for what `use_panels` left, where the arena need not grow for it, or to `arena` bytes at most. Wants
    calls in their final order."""
    buffers, calls = dict(program.buffers), []
    for call, room in zip(program.calls, room_of_calls(program, arena), strict=True):
        panels, elements = _strip(program, call, room) if is_dense(call) and call.kernel == CONVOLUTION else (0, 0)
        if panels == 0:
            calls.append(call)
            continue
        scratch = Buffer(f"{call.writes[0]}.panel", "int16", (elements,), Kind.SCRATCH, call.layer)
        buffers[scratch.name] = scratch
        conv, x, _, bias, scale, y = call.args
        work = Value(panels), Ref(scratch.name)
        args: tuple[Argument, ...] = (conv, x, split_weights(buffers[call.reads[1]]), bias, scale, *work, y)
        calls.append(replace(call, kernel=UNPACKED, args=args, writes=(*call.writes, scratch.name)))
    return replace(program, buffers=buffers, calls=tuple(calls))


def _strip(program: Program, call: KernelCall, room: int) -> tuple[int, int]:
    """How many panels at once and the int16 elements for them and two channels of weights; none where not one fits,
    unless the weights are in two parts."""
    g, weight = geometry(call), program.buffers[call.reads[1]]
    taps = g["in_c"] * g["k_h"] * g["k_w"]
    taps += taps % 2
    most = (room // 2 - taps) // (4 * taps)
    if most < 1 and not weight.frozen:
        return 0, 0
    panels = panels_at_once(-(-g["out_h"] * g["out_w"] // 4), most)
    return panels, (4 * panels + 1) * taps


def packed_weights(program: Program) -> set[str]:
    """The weights that lie in pairs: constants that dense convolutions read, and nobody else but their gradients by
    panels. (The other gradients want OIHW.)"""
    dense = {c.reads[1] for c in program.calls if is_dense(c)}
    others = {n for c in program.calls for n in (*c.reads, *c.writes) if not _takes_pairs(c, n)}
    return {n for n in dense - others if program.buffers[n].kind is Kind.CONST}


def _takes_pairs(call: KernelCall, weight: str) -> bool:
    return (is_dense(call) or is_pointwise_dgrad(call)) and weight == call.reads[1]


def in_pairs(w: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """OIHW weights as (out_c / 2, K, 2), K = in_c * k_h * k_w; out_c and K rounded up to even with zeros."""
    flat = w.reshape(w.shape[0], -1)
    padded = np.pad(flat, [(0, n % 2) for n in flat.shape])
    return np.ascontiguousarray(padded.reshape(len(padded) // 2, 2, padded.shape[1]).transpose(0, 2, 1))


def _in_pairs(weight: Buffer) -> Buffer:
    assert weight.value is not None, weight.name
    value = in_pairs(weight.value)
    return replace(weight, shape=value.shape, value=value, in_pairs=True)


def out_of_pairs(weight: Buffer, conv: Mapping[str, int]) -> Buffer:
    """Packed weights of a dense convolution as OIHW again."""
    assert weight.value is not None, weight.name
    shape = (conv["out_c"], conv["in_c"], conv["k_h"], conv["k_w"])
    rows = weight.value.transpose(0, 2, 1).reshape(-1, weight.shape[1])[: shape[0], : math.prod(shape[1:])]
    return replace(weight, shape=shape, value=np.ascontiguousarray(rows.reshape(shape)), in_pairs=False)


def is_dense(call: KernelCall) -> bool:
    return call.kernel in POSITIONS and geometry(call)["groups"] == 1


def _with_panel(program: Program, call: KernelCall, scratch: str) -> KernelCall:
    conv, x, *_, y = call.args
    assert isinstance(conv, Struct)
    args: tuple[Argument, ...] = (conv, x, _weights(call), Ref(scratch), y)
    kernel = "mg_fully_connected_pairs_s8"
    if call.kernel == CONVOLUTION:
        source, target = (program.buffers[n].shape for n in (call.reads[0], call.writes[0]))
        rows = conv2d_rows(conv, layout(source), layout(target))
        args = (rows, Value(0), Value(target[2]), *args[1:])
        kernel = "mg_conv2d_rows_s8"
    return replace(call, kernel=kernel, args=args, writes=(*call.writes, scratch))


def _weights(call: KernelCall) -> Struct:
    w, bias, scale = (a for a in call.args[2:5] if isinstance(a, Ref))
    return weights(w, bias, scale)
