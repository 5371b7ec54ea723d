"""Program -> Program in which the int8 gradients of pointwise convolutions multiply panels.

By the input: a panel is four positions of the error, expanded to int16 once for all input channels, and the weights are
transposed two channels at a time for as many panels as there are. By the weight: four channels of the input, expanded
once for all output channels. A joined call (join.py) has both, in turn. The panels are scratch that lives for one call.
It is free as long as no more bytes are alive than at the busiest call; beyond that a gradient gets one panel.

A dense layer has one position: too few for a panel, and its own kernels need no scratch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mcugrad.descriptors import geometry, split_weights
from mcugrad.plan.room import panels_at_once, room_of_calls
from mcugrad.program import Argument, Buffer, KernelCall, Kind, Null, Program, Ref, Struct, Value

UPDATE, JOINED = "mg_conv2d_update_weight_s8", "mg_conv2d_pointwise_backward_s8"
DGRAD, DGRAD_BY_PANELS = "mg_conv2d_dgrad_s8", "mg_conv2d_pointwise_dgrad_s8"
UPDATES = {
    f"mg_conv2d_update_weight_{rounding}s8": f"mg_conv2d_pointwise_update_weight_{rounding}s8"
    for rounding in ("", "residual_", "accumulate_")
}
DENSE = {
    DGRAD: "mg_fully_connected_dgrad_s8",
    UPDATE: "mg_fully_connected_update_weight_s8",
}


def use_panels_backward(program: Program, arena: int = 0) -> Program:
    """Give every such gradient its scratch, within `arena` bytes if there are as many, and the kernel that expects it.
    Wants the calls in their final order."""
    buffers, calls = dict(program.buffers), []
    for call, room in zip(program.calls, room_of_calls(program, arena), strict=True):
        if call.kernel in DENSE and _is_dense(geometry(call)):
            calls.append(replace(call, kernel=DENSE[call.kernel]))
        elif is_pointwise_gradient(call):
            counts, elements = _panels(call, room)
            name = f"{call.layer}.{'e' if call.kernel == DGRAD else 'w'}.panel"
            buffers[name] = Buffer(name, "int16", (elements,), Kind.SCRATCH, call.layer)
            calls.append(_with_panels(program, call, counts, name))
        else:
            calls.append(call)
    return replace(program, buffers=buffers, calls=tuple(calls))


def _panels(call: KernelCall, room: int) -> tuple[tuple[int, ...], int]:
    """How many panels at once fit into `room` bytes, at least one, and the int16 elements that they take. A joined call
    has two kinds."""
    if call.kernel == JOINED:
        return _joined_panels(call, room)
    panels, elements = _dgrad_panels(call, room) if call.kernel == DGRAD else _update_panels(call, room)
    return (panels,), elements


def _with_panels(program: Program, call: KernelCall, counts: tuple[int, ...], scratch: str) -> KernelCall:
    """`call` of the kernel that works in `scratch`."""
    work: tuple[Argument, ...] = (*map(Value, counts), Ref(scratch))
    kernel = {**UPDATES, DGRAD: DGRAD_BY_PANELS, JOINED: JOINED}[call.kernel]
    last = 3 if call.kernel == JOINED else 1  # arguments behind the scratch: the output, and of a joined call its scale
    before, after = call.args[:-last], call.args[-last:]
    if call.kernel == DGRAD:
        before = (*before[:-1], split_weights(program.buffers[call.reads[1]]))
    return replace(call, kernel=kernel, args=(*before, *work, *after), writes=(*call.writes, scratch))


def is_pointwise_gradient(call: KernelCall) -> bool:
    """Every output reads one position. A gradient by the input wants four of them: that is a panel."""
    if call.kernel not in (DGRAD, JOINED, *UPDATES) or _has_panels(call):
        return False
    g = geometry(call)
    return _is_pointwise(g) and (call.kernel in UPDATES or g["in_h"] * g["in_w"] >= 4)


def _has_panels(call: KernelCall) -> bool:
    return any(name.endswith(".panel") for name in call.writes)


def _is_pointwise(g: dict[str, Any]) -> bool:
    ones = ("k_h", "k_w", "stride_h", "stride_w", "groups")
    same = (g["in_h"], g["in_w"]) == (g["out_h"], g["out_w"]) and g["pad_top"] == g["pad_left"] == 0
    return same and all(g[name] == 1 for name in ones)


def _is_dense(g: dict[str, Any]) -> bool:
    return _is_pointwise(g) and g["in_h"] == g["in_w"] == 1


def is_pointwise_dgrad(call: KernelCall) -> bool:
    return call.kernel == DGRAD and is_pointwise_gradient(call)


def _dgrad_panels(call: KernelCall, room: int) -> tuple[int, int]:
    """How many panels of four positions at once, and the int16 elements for them and two channels of weights."""
    g = geometry(call)
    even = g["out_c"] + g["out_c"] % 2
    panels = panels_at_once(-(-g["in_h"] * g["in_w"] // 4), (room - 4 * even) // (8 * even))
    return panels, (4 * panels + 2) * even


def _update_panels(call: KernelCall, room: int) -> tuple[int, int]:
    """How many panels of four input channels at once, and the int16 elements for them and two rows of errors."""
    g, subset = geometry(call), call.args[3]
    assert isinstance(subset, Struct)
    inputs = dict(subset.fields)["n_inputs"] if isinstance(dict(subset.fields)["inputs"], Null) else g["in_c"]
    assert isinstance(inputs, int)
    row = -(-g["in_h"] * g["in_w"] // 4) * 4
    panels = panels_at_once(-(-inputs // 4), (room - 4 * row) // (8 * row))
    return panels, (4 * panels + 2) * row


def _joined_panels(call: KernelCall, room: int) -> tuple[tuple[int, int], int]:
    """How many panels at once of four input channels, and of four positions in the room that these have, and the int16
    elements for either and the error of these channels."""
    g = geometry(call)
    positions = g["in_h"] * g["in_w"]
    row, even = -(-positions // 4) * 4, g["out_c"] + g["out_c"] % 2
    inputs = panels_at_once(-(-g["in_c"] // 4), (room - 4 * row) // (8 * row + 4 * positions))
    made, work = 2 * inputs * positions, (4 * inputs + 2) * row
    strip = panels_at_once(-(-positions // 4), (max(work, room // 2 - made) - 2 * even) // (4 * even))
    return (inputs, strip), made + max(work, (4 * strip + 2) * even)
