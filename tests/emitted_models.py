"""Many compiled models in one shared library on the host, called through ctypes.

Every project's kernels are the same files, so they are compiled once; the models' own C has the model's name before
every symbol, so any number of them link together. A hook sees (and may replace) each layer's output in the arena.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcugrad.emit.layout import align
from mcugrad.emit.project import Project, emit_project
from mcugrad.graph import Model
from mcugrad.program import Kind, Program
from mcugrad.samples import quantize_samples

Array = npt.NDArray[Any]
FLAGS = ("-std=c11", "-ffp-contract=off", "-fPIC", "-DMCUGRAD_PROFILE")
_HOOK = """#include <stdint.h>
void mcugrad_profile(uint16_t call);
void mcugrad_set_hook(void (*hook)(uint16_t));
static void (*the_hook)(uint16_t);
void mcugrad_set_hook(void (*hook)(uint16_t)) { the_hook = hook; }
void mcugrad_profile(uint16_t call) { if (the_hook) { the_hook(call); } }
"""
_HookType = ctypes.CFUNCTYPE(None, ctypes.c_uint16)
Watcher = Callable[[str, "set[str]", Array], "Array | None"]


@dataclass(frozen=True)
class _Entry:
    model: Model
    program: Program
    project: Project


class Emitted:
    """Collects models, builds them in `folder`, runs them. Names must differ and be C identifiers."""

    def __init__(self, folder: Path, optimise: str = "-O1") -> None:
        self.folder, self.optimise = folder, optimise
        self.entries: dict[str, _Entry] = {}
        self.library: ctypes.CDLL | None = None

    def add(self, model: Model, program: Program) -> None:
        """Emits one model; it is named after `model.name`."""
        project = emit_project(model, program, source=f"{model.name}.onnx", summary="Conformance test.")
        assert model.name not in self.entries, model.name
        self.entries[model.name] = _Entry(model, program, project)
        for name, text in project.files.items():
            path = self.folder / name
            if name.endswith((".c", ".h", ".inc")) and not path.exists():
                path.write_text(text, encoding="utf-8")

    def build(self) -> None:
        """Compiles what was added, on two cores. Raises CalledProcessError with gcc's words on stderr."""
        (self.folder / "hook.c").write_text(_HOOK, encoding="utf-8")
        sources = sorted(path.name for path in self.folder.glob("*.c"))

        def compile_some(part: list[str]) -> None:
            for at in range(0, len(part), 50):
                self._gcc(self.optimise, "-c", *part[at : at + 50])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(compile_some, [part for part in (sources[::2], sources[1::2]) if part]))
        (self.folder / "objects").write_text("\n".join(s.replace(".c", ".o") for s in sources), encoding="utf-8")
        self._gcc("-shared", "-o", "models.so", "@objects")
        self.library = ctypes.CDLL(str(self.folder / "models.so"))

    def _gcc(self, *arguments: str) -> None:
        subprocess.run(["gcc", *FLAGS, *arguments], cwd=self.folder, check=True)

    def predict(self, name: str, x: Array, watch: Watcher | None = None) -> Array:
        """float32 outputs for one int8 sample (any shape). `watch`, if given, is called as (layer, layers whose
        outputs it reads, output int8) once an output is complete; an array that it returns takes the output's place."""
        entry, library = self.entries[name], self.library
        assert library is not None, "build() first"
        memory = ctypes.create_string_buffer(entry.project.layout.struct_bytes + 16)
        base = align(ctypes.addressof(memory), 16)
        data = np.ascontiguousarray(x, np.int8).reshape(-1)
        assert data.size == entry.program.buffers[entry.program.input].elements
        output = np.zeros(entry.model.output_shape, np.float32)
        raised: list[Exception] = []
        hook = _HookType(_hook(entry, base, watch, raised)) if watch is not None else _HookType()
        library.mcugrad_set_hook(hook)
        getattr(library, f"{name}_init")(ctypes.c_void_p(base))
        getattr(library, f"{name}_predict")(
            ctypes.c_void_p(base), ctypes.c_void_p(data.ctypes.data), ctypes.c_void_p(output.ctypes.data)
        )
        library.mcugrad_set_hook(_HookType())
        if raised:  # it could not cross the C frames
            raise raised[0]
        return output


def _hook(entry: _Entry, base: int, watch: Watcher, raised: list[Exception]) -> Callable[[int], None]:
    program = entry.program
    arena = base + entry.project.layout.struct_bytes - entry.project.layout.arena_bytes
    last: dict[str, int] = {}
    for index, call in enumerate(program.calls):
        for name in call.writes:
            last[name] = index
    done = {index: name for name, index in last.items()}
    makers = {program.root(name): program.calls[index].layer for name, index in last.items()}

    def hook(index: int) -> None:
        name = done.get(index)
        if name is None:
            return
        buffer, call = program.buffers[name], program.calls[index]
        if buffer.dtype != "int8" or buffer.kind is not Kind.ACTIVATION:
            return
        view = (ctypes.c_int8 * buffer.elements).from_address(arena + program.offsets[program.root(name)])
        values = np.ctypeslib.as_array(view).reshape(buffer.shape)
        reads = {n for c in program.calls if name in c.writes for n in c.reads}
        sources = {makers[program.root(n)] for n in reads if program.root(n) in makers} - {call.layer}
        try:
            instead = watch(call.layer, sources, values.copy())
            if instead is not None:
                values[...] = instead.reshape(buffer.shape)
        except Exception as error:
            raised.append(error)

    return hook


def quantised_input(model: Model, x: Array) -> Array:
    """int8 samples (n, *input) of float32 ones (n, *) in ONNX's layout, as `mcugrad run` makes them."""
    grid = model.input_grid
    facts: dict[str, Any] = {"scale": grid.scale, "zero_point": grid.zero_point, "shape": model.input_shape}
    if model.input_axes is not None:
        facts["axes"] = model.input_axes
    return quantize_samples(x, {"input": facts})
