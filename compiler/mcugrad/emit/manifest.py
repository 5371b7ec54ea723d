"""manifest.json: everything the compiler decided, for tools and for people who ask why."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from mcugrad import __version__
from mcugrad.emit.kernels import implementation
from mcugrad.emit.layout import BOOKKEEPING, WATCH, Layout
from mcugrad.graph import Model, Parameter
from mcugrad.plan.budget import Budget
from mcugrad.plan.prefix import frozen_prefix
from mcugrad.program import Buffer, KernelCall, Program
from mcugrad.scheme import Selection

PACKAGES = ("apache-tvm", "numpy", "onnx", "onnxruntime")
_DTYPE = {"uint32_t": "uint32", "int32_t": "int32", "float": "float32"}


def manifest(
    model: Model,
    selection: Selection,
    program: Program,
    layout: Layout,
    budget: Budget,
    files: Mapping[str, str | bytes],
    facts: Mapping[str, Any],
) -> str:
    """The JSON text. `selection` is what trains of `model`; `facts` come from the command: board, its core, command,
    source, and what was asked for."""
    output = program.buffers[program.output]
    content = {
        "generator": "mcugrad",
        "name": model.name,
        **facts,
        "versions": {"mcugrad": __version__, **{p: version(p) for p in PACKAGES}},
        "input": _input(model) | ({"order": "rows"} if program.pushed else {}),
        "output": {"shape": list(output.shape), "dtype": "float32", "softmax": model.tail},
        "arena_bytes": program.arena_bytes,
        "arena_lower_bound": program.arena_lower_bound,
        "static_bytes": layout.struct_bytes,
        "state_bytes": layout.state_bytes,
        "predicted": {
            "sram": {"arena": budget.arena, "static": budget.static, "stack": budget.stack, "total": budget.sram},
            "flash": {"const": budget.constants, "code": budget.code, "total": budget.flash},
        },
        "macs": macs(program),
        "prefix": _prefix(program),
        "state": _state(model, selection, layout),
        "tensors": _tensors(program),
        "calls": _calls(program, str(facts.get("core", "this core")), bool(facts.get("assembly", False))),
        "files": sorted(files),
    }
    return json.dumps(content, indent=1) + "\n"


def macs(program: Program) -> dict[str, int]:
    """Multiply-accumulates of one step by kind of work."""
    found = {w: sum(c.macs for c in program.calls if c.work == w) for w in ("forward", "dgrad", "wgrad")}
    return {**found, "dgrad": found["dgrad"] + sum(c.dgrad_macs for c in program.calls)}


def _prefix(program: Program) -> dict[str, Any] | None:
    """What --cache-prefix skips, and the record it keeps of it: bytes, and (offset, bytes) of its pieces."""
    prefix = frozen_prefix(program)
    if prefix is None:
        return None
    return {"calls": prefix.calls, "macs": prefix.macs, "bytes": prefix.nbytes, "pieces": list(prefix.pieces)}


def _input(model: Model) -> dict[str, Any]:
    grid, axes = model.input_grid, model.input_axes
    layout = {"axes": list(axes)} if axes else {}
    return {
        "shape": list(model.input_shape),
        "onnx_shape": list(model.onnx_shape),
        "dtype": "int8",
        "scale": grid.scale,
        "zero_point": grid.zero_point,
        "rounding": "clip(rint(x / scale) + zero_point, -128, 127), float32, half to even",
        **layout,
    }


def _state(model: Model, selection: Selection, layout: Layout) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"name": name, "dtype": _DTYPE[ctype], "shape": [1], "offset": 4 * index, "role": "bookkeeping"}
        for index, (ctype, name) in enumerate((*BOOKKEEPING, *WATCH))
        if layout.fields
    ]
    parameters = {p.name: p for p in model.parameters}
    kept = {selection.rest_of(p): p for p in model.parameters}
    for field in layout.fields:
        buffer = field.buffer
        row = {"name": buffer.name, "dtype": buffer.dtype, "shape": list(buffer.shape), "offset": field.offset}
        role, origin, more = "error_ratio", "", {}
        if (parameter := parameters.get(buffer.name)) is not None:
            role, origin = parameter.role.value, parameter.onnx_name
            more = _order(parameter, {}) | _frozen(parameter, buffer)
        elif (parameter := kept.get(buffer.name)) is not None:
            role, more = selection.rest_name, _order(parameter, _trained(parameter, selection))
        rows.append(row | {"role": role, "layer": buffer.layer, "initializer": origin, **more})
    return rows


def _trained(parameter: Parameter, selection: Selection) -> dict[int, list[int]]:
    """By axis, the channels of a weight that train; nothing for a bias, which trains as a whole."""
    if parameter.value.ndim == 1:
        return {}
    subset = selection.subset(parameter)
    return {axis: [c for run in runs for c in range(*run)] for axis, runs in enumerate((subset.outputs, subset.inputs))}


def _order(parameter: Parameter, trained: Mapping[int, Sequence[int]]) -> dict[str, Any]:
    """`channel_order`, by axis: which channel of ONNX's lies at each place, or at each of the `trained` places. Nothing
    where all lie at their own."""
    orders = sorted(parameter.order.items())
    order = {str(axis): [channels[i] for i in trained.get(axis, range(len(channels)))] for axis, channels in orders}
    return {"channel_order": order} if order else {}


def _frozen(parameter: Parameter, held: Buffer) -> dict[str, Any]:
    """The input channels of a weight that are not in the state, which holds the ones before them."""
    if held.shape == parameter.value.shape:
        return {}
    rest = parameter.value[:, held.shape[1] :]
    return {"frozen": {"shape": list(rest.shape), "base64": base64.b64encode(rest.tobytes()).decode()}}


def _tensors(program: Program) -> list[dict[str, Any]]:
    spans = program.lifetimes()
    rows = []
    for name in sorted(program.buffers):
        buffer, root = program.buffers[name], program.root(name)
        row: dict[str, Any] = {
            "name": name,
            "kind": buffer.kind.value,
            "dtype": buffer.dtype,
            "shape": list(buffer.shape),
        }
        row |= {"bytes": buffer.nbytes, "layer": buffer.layer, **_grid(buffer)}
        if buffer.in_pairs:
            row["layout"] = "pairs"
        if root in program.offsets:
            row |= {"offset": program.offsets[root], "lifetime": list(spans[root])}
        if root != name:
            row["shares_bytes_of"] = root
        rows.append(row)
    return rows


def _grid(buffer: Buffer) -> dict[str, Any]:
    if buffer.scale is None:
        return {"scale": "delayed"} if buffer.dtype in ("int8", "int16") and buffer.kind.value == "error" else {}
    scale = list(buffer.scale) if isinstance(buffer.scale, tuple) else buffer.scale
    return {"scale": scale, "zero_point": buffer.zero_point}


def _calls(program: Program, core: str, assembly: bool) -> list[dict[str, Any]]:
    chosen = {k: implementation(k, core, assembly) for k in {call.kernel for call in program.calls}}
    return [{**_call(i, call), **chosen[call.kernel]} for i, call in enumerate(program.calls)]


def _call(index: int, call: KernelCall) -> dict[str, Any]:
    return {
        "index": index,
        "kernel": call.kernel,
        "layer": call.layer,
        "op": call.op,
        "phase": call.phase,
        "work": call.work,
        "macs": call.macs + call.dgrad_macs,
        **({"dgrad_macs": call.dgrad_macs} if call.dgrad_macs else {}),
        "reads": list(dict.fromkeys(call.reads)),
        "writes": list(call.writes),
    }
