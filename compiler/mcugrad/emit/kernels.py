"""Which runtime files an emitted program needs: its kernels and what those call, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mcugrad.resources import runtime_dir

_DEFINITION = re.compile(r"^(?:void|bool|float|u?int32_t|int64_t)\s+(mg_\w+)\(", re.MULTILINE)
_MACRO_DEFINITION = re.compile(r"^#define\s+\w+\s+(mg_\w+)\s*$", re.MULTILINE)  # a template instance names its kernel
_USE = re.compile(r"\b(mg_\w+)\(")
_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def kernel_files(kernels: Iterable[str]) -> list[Path]:
    """Paths of the .c, .inc and .h files, sorted by name, that define `kernels` and everything they call."""
    source = runtime_dir() / "src"
    definitions = _definitions(source)
    waiting, found = [definitions[k] for k in kernels], set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        text = path.read_text(encoding="utf-8")
        for name in _INCLUDE.findall(text):
            if (source / name).is_file():
                waiting.append(source / name)
        waiting += [definitions[n] for n in _USE.findall(text) if n in definitions]
    header = runtime_dir() / "include" / "mcugrad.h"
    return sorted({*found, header}, key=lambda p: p.name)


def _definitions(source: Path) -> dict[str, Path]:
    table = {}
    for path in sorted(source.glob("*.c")):
        text = path.read_text(encoding="utf-8")
        for name in (*_DEFINITION.findall(text), *_MACRO_DEFINITION.findall(text)):
            table[name] = path
    return table
