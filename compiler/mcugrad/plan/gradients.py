"""Program -> Program in which the int8 gradients of pointwise convolutions multiply panels of the error.

A panel is four positions, expanded to int16 once for all input channels. The weights are transposed two channels at a
time for as many panels as the scratch holds, which lives for one call. Scratch is free as long as no more bytes are
alive than at the busiest call; beyond that a gradient gets what it needs at least.
"""

from __future__ import annotations

from dataclasses import replace

from mcugrad.program import Argument, Buffer, KernelCall, Kind, Program, Ref, Struct, Value

DGRAD, BY_PANELS = "mg_conv2d_dgrad_s8", "mg_conv2d_pointwise_dgrad_s8"
MOST_PANELS, LEAST_BYTES = 16, 4096
ALIGNMENT = 8


def use_panels_backward(program: Program) -> Program:
    """Give every such gradient its scratch and the kernel that expects it. Wants the calls in their final order."""
    alive = _bytes_alive(program)
    buffers, calls = dict(program.buffers), []
    for call, live in zip(program.calls, alive, strict=True):
        if not _fits(call):
            calls.append(call)
            continue
        panels, elements = _panels(call, max(LEAST_BYTES, max(alive) - live))
        scratch = Buffer(f"{call.writes[0]}.panel", "int16", (elements,), Kind.SCRATCH, call.layer)
        buffers[scratch.name] = scratch
        geometry, e, w, *rest = call.args
        args: tuple[Argument, ...] = (geometry, e, w, Value(panels), Ref(scratch.name), *rest)
        calls.append(replace(call, kernel=BY_PANELS, args=args, writes=(*call.writes, scratch.name)))
    return replace(program, buffers=buffers, calls=tuple(calls))


def _bytes_alive(program: Program) -> list[int]:
    """Of the arena, at each call."""
    alive = [0] * len(program.calls)
    for name, (first, last) in program.lifetimes().items():
        for index in range(first, last + 1):
            alive[index] += -(-program.buffers[name].nbytes // ALIGNMENT) * ALIGNMENT
    return alive


def _geometry(call: KernelCall) -> dict[str, int]:
    geometry = call.args[0]
    assert isinstance(geometry, Struct)
    return {name: value for name, value in geometry.fields if isinstance(value, int)}


def _fits(call: KernelCall) -> bool:
    if call.kernel != DGRAD:
        return False
    g = _geometry(call)
    ones = ("k_h", "k_w", "stride_h", "stride_w", "groups")
    same = (g["in_h"], g["in_w"]) == (g["out_h"], g["out_w"]) and g["in_h"] * g["in_w"] >= 4
    return same and all(g[name] == 1 for name in ones) and g["pad_top"] == g["pad_left"] == 0


def _panels(call: KernelCall, room: int) -> tuple[int, int]:
    """How many panels at once, and the int16 elements of scratch for them and two channels of weights."""
    g = _geometry(call)
    even, wanted = g["out_c"] + g["out_c"] % 2, -(-g["in_h"] * g["in_w"] // 4)
    most = max(1, min(MOST_PANELS, (room - ALIGNMENT - 2 * even) // (8 * even)))
    panels = -(-wanted // -(-wanted // most))  # strips of equal length
    return panels, (4 * panels + 1) * even
