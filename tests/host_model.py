"""A compiled model as a shared library of this machine: training steps from any state, through ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emitted_models import Emitted
from mcugrad.emit.project import emit_project
from mcugrad.pipeline import Compiled

Array = npt.NDArray[Any]
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-shared", "-fPIC")
Edit = Callable[[dict[str, str]], dict[str, str]]


def _build(files: dict[str, str], folder: Path) -> ctypes.CDLL:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = sorted(name for name in files if name.endswith(".c"))
    # Its own kernels, not those of `emitted_models.kernels`, which may have been loaded for all before.
    subprocess.run(["gcc", *FLAGS, "-Wl,-Bsymbolic", *sources, "-o", "model.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "model.so"))


class HostModel:
    """One instance of <name>_t. Build files go to `folder`; `edit` may change the emitted ones: name -> text.

    Without it kernels are those that every model in this process shares.
    """

    def __init__(self, compiled: Compiled, folder: Path, *, edit: Edit | None = None) -> None:
        self.model, self.program = compiled.model, compiled.program
        if edit is None:
            emitted = Emitted(folder)
            emitted.add(self.model, self.program)
            emitted.build()
            assert emitted.library is not None
            self.project, self.library = emitted.entries[self.model.name].project, emitted.library
        else:
            self.project = emit_project(self.model, self.program, source="test.onnx", summary="Test.")
            self.library = _build(edit(self.project.files), folder)
        self.layout = self.project.layout
        self._memory = ctypes.create_string_buffer(self.layout.struct_bytes + 16)
        self._base = (ctypes.addressof(self._memory) + 15) // 16 * 16

    def _call(self, function: str, *arguments: Any) -> Any:
        return getattr(self.library, f"{self.model.name}_{function}")(ctypes.c_void_p(self._base), *arguments)

    def init(self) -> None:
        """Factory weights; error scales start anew."""
        self._call("init")

    def plan(self, learning_rate: float, seed: int) -> None:
        """A new plan with a constant learning rate; weights and error scales stay."""
        self._call("plan", 0, ctypes.c_float(learning_rate), ctypes.c_uint32(0), ctypes.c_uint32(seed))

    def save(self) -> bytes:
        """Every byte of the instance."""
        return ctypes.string_at(self._base, self.layout.struct_bytes)

    def restore(self, saved: bytes) -> None:
        """What `save` returned."""
        ctypes.memmove(self._base, saved, len(saved))

    def train_step(self, x: Array, target: Array) -> float:
        """One step on an int8 sample; `target`: int32 (1,) or float32. Returns the loss, NaN if it was not finite."""
        data = np.ascontiguousarray(x, np.int8)
        return self._step("train_step", target, ctypes.c_void_p(data.ctypes.data))

    def train_step_cached(self, target: Array) -> float:
        """The step behind the frozen prefix, whose record lies in the arena."""
        return self._step("train_step_cached", target)

    def _step(self, function: str, target: Array, *sample: ctypes.c_void_p) -> float:
        loss = ctypes.c_float()
        wanted: Any = ctypes.c_void_p(target.ctypes.data) if target.dtype == np.float32 else int(target[0])
        step = getattr(self.library, f"{self.model.name}_{function}")
        step.restype = ctypes.c_bool
        ok = step(ctypes.c_void_p(self._base), *sample, wanted, ctypes.byref(loss))
        return loss.value if ok else float("nan")

    def prefix(self, x: Array) -> None:
        """The frozen prefix on an int8 sample."""
        data = np.ascontiguousarray(x, np.int8)
        self._call("prefix", ctypes.c_void_p(data.ctypes.data))

    def prefix_pieces(self) -> list[Array]:
        """The bytes of the record, where they lie in the arena."""
        piece, count = getattr(self.library, f"{self.model.name}_prefix_piece"), ctypes.c_uint32()
        piece.restype = ctypes.POINTER(ctypes.c_uint8)
        found: list[Array] = []
        while at := piece(ctypes.c_void_p(self._base), len(found), ctypes.byref(count)):
            found.append(np.ctypeslib.as_array(at, (count.value,)))
        return found

    def arena(self) -> Array:
        """The arena's bytes, not a copy."""
        at = self._base + self.layout.struct_bytes - self.layout.arena_bytes
        return np.ctypeslib.as_array((ctypes.c_uint8 * self.layout.arena_bytes).from_address(at))

    def counters(self) -> list[int]:
        """clipped_errors since the last plan and saturated_weights of the last step."""
        raw = ctypes.string_at(self._base + self.layout.state_bytes, 8)
        return [int(n) for n in np.frombuffer(raw, np.uint32)]

    def state(self) -> dict[str, Array]:
        """Copies of the trained tensors, whole, and of the error ratios by name."""
        found: dict[str, Array] = {}
        factory: dict[str, Array] = {p.name: p.value for p in self.model.parameters}
        for field in self.layout.fields:
            raw = ctypes.string_at(self._base + field.offset, field.buffer.nbytes)
            held: Array = np.frombuffer(raw, field.buffer.dtype).reshape(field.buffer.shape)
            if field.buffer.frozen:
                held = np.concatenate([held, factory[field.buffer.name][:, held.shape[1] :]], axis=1)
            found[field.buffer.name] = held
        return found
