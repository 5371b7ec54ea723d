"""A compiled model as a shared library of this machine: training steps from any state, through ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcugrad.emit.project import emit_project
from mcugrad.pipeline import Compiled

Array = npt.NDArray[Any]
FLAGS = ("-std=c11", "-O1", "-ffp-contract=off", "-shared", "-fPIC")


class HostModel:
    """One instance of <name>_t. Build files go to `folder`."""

    def __init__(self, compiled: Compiled, folder: Path) -> None:
        self.model, self.program = compiled.model, compiled.program
        project = emit_project(self.model, self.program, source="test.onnx", summary="Test.")
        for name, text in project.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        sources = sorted(name for name in project.files if name.endswith(".c"))
        subprocess.run(["gcc", *FLAGS, *sources, "-o", "model.so"], cwd=folder, check=True)
        self._library = ctypes.CDLL(str(folder / "model.so"))
        self.layout = project.layout
        self._memory = ctypes.create_string_buffer(self.layout.struct_bytes + 16)
        self._base = (ctypes.addressof(self._memory) + 15) // 16 * 16

    def _call(self, function: str, *arguments: Any) -> Any:
        return getattr(self._library, f"{self.model.name}_{function}")(ctypes.c_void_p(self._base), *arguments)

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
        loss, data = ctypes.c_float(), np.ascontiguousarray(x, np.int8)
        wanted: Any = ctypes.c_void_p(target.ctypes.data) if target.dtype == np.float32 else int(target[0])
        step = getattr(self._library, f"{self.model.name}_train_step")
        step.restype = ctypes.c_bool
        ok = step(ctypes.c_void_p(self._base), ctypes.c_void_p(data.ctypes.data), wanted, ctypes.byref(loss))
        return loss.value if ok else float("nan")

    def state(self) -> dict[str, Array]:
        """Copies of the trained tensors and error ratios by name."""
        found = {}
        for field in self.layout.fields:
            raw = ctypes.string_at(self._base + field.offset, field.buffer.nbytes)
            found[field.buffer.name] = np.frombuffer(raw, field.buffer.dtype).reshape(field.buffer.shape)
        return found
