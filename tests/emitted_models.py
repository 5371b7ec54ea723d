"""Many compiled models in one shared library on the host, called through ctypes.

Every project's kernels are the same files, so a process compiles them once; the models' own C has the model's name
before every symbol, so any number of them link together. A hook sees (and may replace) each layer's output in the
arena.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Callable, Sequence
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
from mcugrad.resources import runtime_dir
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


def _gcc(folder: Path, *arguments: str) -> None:
    subprocess.run(["gcc", *FLAGS, *arguments], cwd=folder, check=True)


def _compile(folder: Path, optimise: str, sources: Sequence[str], *flags: str) -> list[str]:
    """Objects in `folder`, on two cores, at most 50 files a process."""
    few = min(50, -(-len(sources) // 2))
    parts = [sources[at : at + few] for at in range(0, len(sources), few)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: _gcc(folder, optimise, *flags, "-c", *part), parts))
    return [f"{Path(source).stem}.o" for source in sources]


@functools.cache
def kernels() -> ctypes.CDLL:
    """Every kernel and the hook, where models that are loaded later find them."""
    sources = sorted(str(path) for path in (runtime_dir() / "src").glob("*.c"))
    with tempfile.TemporaryDirectory(prefix="mcugrad-kernels-") as scratch:
        folder = Path(scratch)
        (folder / "hook.c").write_text(_HOOK, encoding="utf-8")
        objects = _compile(folder, "-O2", [*sources, "hook.c"], f"-I{runtime_dir() / 'include'}")
        _gcc(folder, "-shared", "-o", "kernels.so", *objects)
        return ctypes.CDLL(str(folder / "kernels.so"), mode=ctypes.RTLD_GLOBAL)


@dataclass(frozen=True)
class _Entry:
    model: Model
    program: Program
    project: Project


class Emitted:
    """Collects models, builds them in `folder`, runs them. Names must differ and be C identifiers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.entries: dict[str, _Entry] = {}
        self.library: ctypes.CDLL | None = None

    def add(self, model: Model, program: Program) -> None:
        """Emits one model; it is named after `model.name`."""
        project = emit_project(model, program, source=f"{model.name}.onnx", summary="Conformance test.")
        assert model.name not in self.entries, model.name
        self.entries[model.name] = _Entry(model, program, project)
        for name, text in project.files.items():
            if name.startswith(model.name) and name.endswith((".c", ".h")):
                (self.folder / name).write_text(text, encoding="utf-8")

    def build(self) -> None:
        """Compiles what was added. Raises CalledProcessError with gcc's words on stderr."""
        kernels()
        parts = [(e, f"{n}{part}.c") for n, e in self.entries.items() for part in ("", "_weights", "_flash")]
        names = [name for entry, name in parts if name in entry.project.files]
        objects = _compile(self.folder, "-O0", names, f"-I{runtime_dir() / 'include'}")
        (self.folder / "objects").write_text("\n".join(objects), encoding="utf-8")
        _gcc(self.folder, "-shared", "-o", "models.so", "@objects")
        self.library = ctypes.CDLL(str(self.folder / "models.so"))

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
        kernels().mcugrad_set_hook(hook)
        getattr(library, f"{name}_init")(ctypes.c_void_p(base))
        getattr(library, f"{name}_predict")(
            ctypes.c_void_p(base), ctypes.c_void_p(data.ctypes.data), ctypes.c_void_p(output.ctypes.data)
        )
        kernels().mcugrad_set_hook(_HookType())
        if raised:  # it could not cross the C frames
            raise raised[0]
        return output


def _hook(entry: _Entry, base: int, watch: Watcher, raised: list[Exception]) -> Callable[[int], None]:
    program = entry.program
    arena = base + entry.project.layout.struct_bytes - entry.project.layout.arena_bytes
    last: dict[str, int] = {}
    for index, call in enumerate(program.calls):
        for name in call.writes:
            if program.buffers[name].kind is not Kind.SCRATCH:
                last[name] = index
    done = {index: name for name, index in last.items()}

    def hook(index: int) -> None:
        name = done.get(index)
        if name is None:
            return
        buffer, call = program.buffers[name], program.calls[index]
        if buffer.dtype != "int8" or buffer.kind is not Kind.ACTIVATION:
            return
        view = (ctypes.c_int8 * buffer.elements).from_address(arena + program.offsets[program.root(name)])
        values = np.ctypeslib.as_array(view)
        if buffer.rows_first:
            _, channels, height, width = buffer.shape
            values = values.reshape(1, height, channels, width).transpose(0, 2, 1, 3)
        else:
            values = values.reshape(buffer.shape)
        try:
            instead = watch(call.layer, _sources(program, name), values.copy())
            if instead is not None:
                values[...] = instead.reshape(buffer.shape)
        except Exception as error:
            raised.append(error)

    return hook


def _sources(program: Program, name: str) -> set[str]:
    """The layers whose outputs the calls that write `name` read. An operand may lie in the very bytes of `name`."""
    writing = [index for index, call in enumerate(program.calls) if name in call.writes]
    reads = {program.root(n) for index in writing for n in program.calls[index].reads}
    makers: dict[str, str] = {}
    for call in program.calls[: writing[0]]:
        makers |= {program.root(n): call.layer for n in call.writes if program.root(n) in reads}
    return set(makers.values()) - {program.calls[writing[0]].layer}


def quantised_input(model: Model, x: Array) -> Array:
    """int8 samples (n, *input) of float32 ones (n, *) in ONNX's layout, as `mcugrad run` makes them."""
    grid = model.input_grid
    facts: dict[str, Any] = {"scale": grid.scale, "zero_point": grid.zero_point, "shape": model.input_shape}
    if model.input_axes is not None:
        facts["axes"] = model.input_axes
    return quantize_samples(x, {"input": facts})


def predictions(model: Model, program: Program, samples: Array) -> Array:
    """What the emitted C of `program` predicts for each of `samples`, int8 as the network takes them."""
    with tempfile.TemporaryDirectory() as folder:
        emitted = Emitted(Path(folder))
        emitted.add(model, program)
        emitted.build()
        return np.stack([emitted.predict(model.name, x) for x in samples])
