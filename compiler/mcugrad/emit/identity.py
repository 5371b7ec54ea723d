"""Whose a saved state is: a digest of everything that gives its bytes their meaning, and of nothing else.

Equal for every compilation of the same network, factory weights, scales and scheme by one version of the compiler:
paths, names of files, the planner's choices and the board have no part in it.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from mcugrad.emit.layout import BOOKKEEPING, WATCH, Layout
from mcugrad.graph import Model
from mcugrad.program import Buffer, Field, Kind, Program, Struct

HASH_BYTES = 16
_SUBSET = "mg_subset_t"  # which channels of a weight train


def model_hash(model: Model, program: Program, layout: Layout) -> bytes:
    """The first 16 bytes of a SHA-256 over the network as Relax prints it, its parameters, and how they train."""
    digest = hashlib.sha256(b"mcugrad state 1\n")
    digest.update(json.dumps(_facts(model, program, layout), sort_keys=True).encode())
    for parameter in sorted(model.parameters, key=lambda p: p.name):
        for array in (parameter.value, parameter.scale):
            digest.update(hashlib.sha256(_little_endian(array)).digest())
    return digest.digest()[:HASH_BYTES]


def _facts(model: Model, program: Program, layout: Layout) -> dict[str, object]:
    grid = model.input_grid
    return {
        "network": model.module.script(show_meta=True),
        "input": [*model.input_shape, float(grid.scale).hex(), grid.zero_point, model.input_axes],
        "tail": model.tail,
        "parameters": {p.name: [p.role.value, str(p.value.dtype), list(p.value.shape)] for p in model.parameters},
        "order": {p.name: [[axis, list(order)] for axis, order in sorted(p.order.items())] for p in model.parameters},
        "fields": [*BOOKKEEPING, *WATCH],
        "state": [[f.buffer.name, f.buffer.dtype, list(f.buffer.shape), f.offset] for f in layout.fields],
        "state_bytes": layout.state_bytes,
        "target": _target(program),
        "errors": sorted({b.dtype for b in program.buffers.values() if b.kind is Kind.ERROR}),
        "accumulate": program.accumulate,
        "subsets": sorted({f"{call.layer} {_fields(s)}" for call in program.calls for s in _structs(call.args)}),
    }


def _target(program: Program) -> list[object]:
    buffer: Buffer | None = program.buffers[program.label] if program.label is not None else None
    return [] if buffer is None else [buffer.dtype, list(buffer.shape)]


def _structs(arguments: tuple[object, ...]) -> list[Struct]:
    return [a for a in arguments if isinstance(a, Struct) and a.type == _SUBSET]


def _fields(struct: Struct) -> list[tuple[str, Field]]:
    return [(name, value) for name, value in struct.fields]


def _little_endian(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
