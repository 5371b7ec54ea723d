"""Program -> Program in which frozen convolutions take the kernel of those that train, where one of their own is not
worth its flash.

mg_conv2d_panels_s8 brings any weights into pairs while it runs. For weights that lie in pairs there are strips
(mg_conv2d_strips_s8): an instruction fewer for 8 MACs, which a small network gets little of, and 1.5 KB of code.
"""

from __future__ import annotations

from dataclasses import replace

from mcugrad.descriptors import geometry, split_weights
from mcugrad.plan.panels import UNPACKED, out_of_pairs
from mcugrad.plan.strips import CHAINS, CONV, STRIPS
from mcugrad.program import Argument, Buffer, KernelCall, Program, Ref, Struct

CODE = 1500  # bytes: mg_conv2d_strips_s8 and what only it calls
WORTH_A_BYTE = 512  # instructions a pass that it has to save; all of CODE then 4 ms at 200 MHz
MACS, CALL = 8, 64  # what strips save: an instruction of so many MACs, and a call of a panel and a pair of channels


def share_panels(program: Program) -> Program:
    """Give up the strips of a placed program that has panels anyway, if all of them together save too little."""
    strips = [c for c in program.calls if c.kernel == STRIPS]
    weights = {c.reads[1] for c in strips}
    rest = [c for c in program.calls if c.kernel != STRIPS]
    has_panels = any(c.kernel == UNPACKED for c in rest)
    for_others = any(c.kernel in (CONV, *CHAINS) or not weights.isdisjoint(c.reads) for c in rest)
    if not has_panels or for_others or sum(map(_saved, strips)) > WORTH_A_BYTE * CODE:
        return program
    buffers = dict(program.buffers)
    for call in strips:
        buffers[call.reads[1]] = out_of_pairs(program.buffers[call.reads[1]], geometry(call))
    calls = (_by_panels(buffers, c) if c.kernel == STRIPS else c for c in program.calls)
    return replace(program, buffers=buffers, calls=tuple(calls))


def _saved(call: KernelCall) -> int:
    """Instructions, estimated: within a tenth of what a keyword spotter shows."""
    g = geometry(call)
    pairs, panels = g["out_c"] // 2, -(-g["out_h"] * g["out_w"] // 4)
    return call.macs // MACS + CALL * int(pairs * panels)


def _by_panels(buffers: dict[str, Buffer], call: KernelCall) -> KernelCall:
    """Of a whole layer; the scratch of strips is more than that of as many panels."""
    rows, _, _, x, weights, *work = call.args
    assert isinstance(rows, Struct)
    assert isinstance(weights, Struct)
    conv = dict(rows.fields)["conv"]
    assert isinstance(conv, Struct)
    _, bias, scale = (v for v in weights.values() if isinstance(v, Ref))
    args: tuple[Argument, ...] = (conv, x, split_weights(buffers[call.reads[1]]), bias, scale, *work)
    return replace(call, kernel=UNPACKED, args=args)
