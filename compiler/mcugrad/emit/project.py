"""Program -> the files of a compiled model: header, program, constants, the kernels it calls, build files, manifest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcugrad import __version__
from mcugrad.emit.c_source import Printer, number, table, wrap
from mcugrad.emit.environment import template_environment
from mcugrad.emit.identity import model_hash
from mcugrad.emit.kernels import kernel_files, text_of
from mcugrad.emit.layout import BOOKKEEPING, C_TYPES, Layout, lay_out
from mcugrad.emit.variants import VARIANTS, variants
from mcugrad.emit.windows import WINDOWS, depthwise_windows
from mcugrad.graph import Model
from mcugrad.plan.code_size import constant_bytes
from mcugrad.plan.prefix import frozen_prefix
from mcugrad.program import Buffer, Function, Kind, Program, Random, Ref

TAILS = {"softmax": "mg_softmax_f32", "log_softmax": "mg_log_softmax_f32"}


@dataclass(frozen=True)
class Project:
    """Everything emission decides: text of the files without the manifest, the layout that the manifest reports, and
    the bytes of flash that constants and descriptors take. `model_hash`: whose a saved state is; empty where nothing
    trains."""

    files: dict[str, str]
    layout: Layout
    constant_bytes: int
    model_hash: bytes


def emit_project(model: Model, program: Program, *, source: str, summary: str) -> Project:
    """The C project of `program`; `source` names the ONNX file and `summary` says in one line what it is."""
    layout, printer = lay_out(program), Printer(program, model.name)
    forward, backward = printer.calls("forward"), printer.calls("backward")
    own = {WINDOWS: depthwise_windows(program), VARIANTS: variants(program)}
    runtime = kernel_files(_kernels(model, program), own)
    constants = list(_constants(program, printer))
    identity = model_hash(model, program, layout) if program.loss is not None else b""
    names = {
        f"{model.name}.h": "model.h.j2",
        f"{model.name}.c": "model.c.j2",
        f"{model.name}_weights.c": "weights.c.j2",
        "CMakeLists.txt": "CMakeLists.txt.j2",
        f"{model.name}_serial.h": "serial.h.j2",
        f"{model.name}_serial.c": "serial.c.j2",
        "Makefile": "Makefile.j2",
    }
    if identity:
        names[f"{model.name}_flash.c"] = "flash.c.j2"
    sources = sorted(name for name in (*names, *(p.name for p in runtime)) if name.endswith((".c", ".S")))
    context = {
        "name": model.name,
        "upper": model.name.upper(),
        "version": __version__,
        "source": source,
        "summary": summary,
        "sources": sources,
        "forward": forward,
        "backward": backward,
        "descriptors": printer.descriptor_lines(),
        "constants": constants,
        "identity": _identity(model, identity),
        **_interface(model, program, printer, layout),
    }
    environment = template_environment("mcugrad.emit")
    environment.filters["wrap"] = wrap
    files = {name: environment.get_template(template).render(context) for name, template in names.items()}
    files |= {path.name: text_of(path, own) for path in runtime}
    used = [program.buffers[c["name"]].nbytes for c in constants]
    parts = program.parts()
    descriptors = dict.fromkeys(s for call in program.calls for s in call.descriptors if s not in parts)
    return Project(files, layout, constant_bytes(used, descriptors), identity)


def _kernels(model: Model, program: Program) -> set[str]:
    kernels = {"mg_serial_poll", *(call.kernel for call in program.calls)}
    kernels |= {v.name for c in program.calls for s in c.descriptors for v in s.values() if isinstance(v, Function)}
    if model.tail:
        kernels.add(TAILS[model.tail])
    if program.loss is not None:
        kernels |= {"mg_learning_rate", "mg_loss_watch", "mg_flash_load"}
    if program.ratios:
        kernels |= {"mg_scale_predict", "mg_scale_observe"}
    return kernels


def _identity(model: Model, digest: bytes) -> dict[str, str]:
    """mg_model_id_t; its name has 24 bytes and ends with a zero."""
    return {"hex": digest.hex(), "bytes": ", ".join(f"{b:#04x}" for b in digest), "name": model.name[:23]}


def _interface(model: Model, program: Program, printer: Printer, layout: Layout) -> dict[str, Any]:
    """What the header declares: lengths, state, input grid, the target's type."""
    grid, trains = model.input_grid, program.loss is not None
    output = program.buffers[program.output]
    target = program.buffers[program.label] if program.label is not None else None
    values = target.elements if target is not None and target.dtype == "float32" else 0
    logits = printer.pointer(Ref(program.output))
    state = [
        {
            "identifier": printer.identifier_of(f.buffer.name),
            "name": f.buffer.name,
            "ctype": C_TYPES[f.buffer.dtype],
            "elements": f.buffer.elements,
        }
        for f in layout.fields
    ]
    return {
        "trains": trains,
        "prefix": frozen_prefix(program),
        "bookkeeping": BOOKKEEPING,
        "state": state,
        "scales": len(program.ratios),
        "accumulate": program.accumulate,
        "random": any(isinstance(a, Random) for c in program.calls for a in c.args),
        "struct_bytes": layout.struct_bytes,
        "arena_bytes": layout.arena_bytes,
        "input": printer.pointer(Ref(program.input)),
        "input_len": math.prod(model.input_shape),
        "pushed": _pushed(model, program, printer) if program.pushed else None,
        "input_scale": number(grid.scale),
        "input_zero": grid.zero_point,
        "input_min": number(float(-128 - grid.zero_point)),
        "input_max": number(float(127 - grid.zero_point)),
        "output": logits,
        "output_len": output.elements,
        "target_len": values,
        "target_parameter": "const float *target" if values else "int32_t label",
        "chance": f"mg_mean_square_f32(target, {values})" if values else number(float(np.log(output.elements))),
        "any_target": "*loss" if values else f"mg_any_label_loss_f32({logits}, {output.elements}, label, *loss)",
        "tail": model.tail,
        "tail_call": _tail_call(model, output),
        "factory": _factory(program, printer),
    }


def _pushed(model: Model, program: Program, printer: Printer) -> dict[str, Any]:
    """What taking in a sample row by row needs: its first call's counters, and the ring of rows."""
    _, channels, height, width = model.input_shape
    made = next(a for a in program.calls[0].args if isinstance(a, Ref))
    return {
        "rows": height,
        "row_len": channels * width,
        "channels": channels,
        "width": width,
        "ring": program.buffers[program.input].shape[2],
        "made": printer.pointer(made),
        "made_bytes": program.buffers[made.buffer].nbytes,
    }


def _tail_call(model: Model, output: Buffer) -> str:
    if not model.tail:
        return ""
    last = output.shape[-1]
    return f"{TAILS[model.tail]}(outputs, {output.elements // last}, {last}, outputs)"


def _factory(program: Program, printer: Printer) -> list[dict[str, str]]:
    """State that starts at something else than zero."""
    states = (program.buffers[n] for n in program.state)
    return [
        {"identifier": printer.identifier_of(b.name), "constant": f"{printer.constant(b)}_factory"}
        for b in states
        if b.value is not None and b.value.any()
    ]


def _constants(program: Program, printer: Printer) -> Iterator[dict[str, Any]]:
    """Everything in flash that the calls read, and the factory values of the state."""
    used = dict.fromkeys(n for call in program.calls for n in call.reads)
    for call in program.calls:
        for struct in call.descriptors:
            used |= dict.fromkeys(v.buffer for v in struct.values() if isinstance(v, Ref))
    for name in sorted(used):
        buffer = program.buffers[name]
        if buffer.kind is Kind.CONST:
            yield _constant(buffer, printer.constant(buffer))
    for name in program.state:
        buffer = program.buffers[name]
        if buffer.value is not None and buffer.value.any():
            yield _constant(buffer, f"{printer.constant(buffer)}_factory")


def _constant(buffer: Buffer, identifier: str) -> dict[str, Any]:
    assert buffer.value is not None, buffer.name
    return {
        "identifier": identifier,
        "name": buffer.name,
        "ctype": C_TYPES[buffer.dtype],
        "elements": buffer.elements,
        "in_pairs": buffer.in_pairs,
        "shape": list(buffer.shape),
        "lines": table(buffer.value),
    }
