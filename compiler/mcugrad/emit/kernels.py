"""Which runtime files an emitted program needs: its kernels and what those call, nothing else.

A portable file `f.c` may have an assembly twin `armv7em/f_armv7em.S`, which takes over on cores with the DSP
extension; both travel, and each compiles to nothing where the other is in charge. Assembly without a portable file is
called by name, and only where it is in charge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from mcugrad.resources import runtime_dir

_DEFINITION = re.compile(r"^(?:const )?(?:void|bool|float|u?int32_t|int64_t|mg_\w+_t)\s+\*?(mg_\w+)\(", re.MULTILINE)
_MACRO_DEFINITION = re.compile(r"^#define\s+\w+\s+(mg_\w+)\s*$", re.MULTILINE)  # a template instance names its kernel
_USE = re.compile(r"\b(mg_\w+)\(")
_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
ASSEMBLY = "armv7em"
_NONE: Mapping[str, str] = MappingProxyType({})


def kernel_files(kernels: Iterable[str], own: Mapping[str, str] = _NONE) -> list[Path]:
    """Paths of the .c, .S, .inc and .h files, sorted by name, that define `kernels` and everything they call.

    The public header is always among them, and what it includes. `own`: files by name of which a project has a text of
    its own; what they call is that text's.
    """
    source = runtime_dir() / "src"
    definitions = _definitions(source)
    header = runtime_dir() / "include" / "mcugrad.h"
    waiting, found = [header, *(definitions[k] for k in kernels)], set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        text = text_of(path, own)
        places = (source, source / ASSEMBLY, runtime_dir() / "include")
        waiting += [p for folder in places for p in _named(folder, _INCLUDE.findall(text))]
        waiting += _named(source / ASSEMBLY, [f"{path.stem}_{ASSEMBLY}.S"])
        if path.suffix != ".h":  # a header declares, and calls nothing
            waiting += [definitions[n] for n in _USE.findall(text) if n in definitions]
    return sorted(found, key=lambda p: p.name)


def text_of(path: Path, own: Mapping[str, str]) -> str:
    """A runtime file as a project has it."""
    return own[path.name] if path.name in own else path.read_text(encoding="utf-8")


def implementation(kernel: str, core: str, assembly: bool) -> dict[str, str]:
    """Which implementation of a kernel is in charge on `core`, and why; `assembly`: whether the core can execute it."""
    if not any(path.suffix == ".S" for path in kernel_files([kernel])):
        return {"implementation": "portable", "why": "no hot loop of it is in assembly"}
    if not assembly:
        return {"implementation": "portable", "why": f"{core} lacks the DSP extension or a float unit"}
    return {"implementation": ASSEMBLY, "why": f"{core} has the DSP extension and a float unit"}


def _named(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()]


def _definitions(source: Path) -> dict[str, Path]:
    table = {f"mg_{p.stem.removesuffix(f'_{ASSEMBLY}')}": p for p in sorted((source / ASSEMBLY).glob("*.S"))}
    for path in sorted(source.glob("*.c")):
        text = path.read_text(encoding="utf-8")
        for name in (*_DEFINITION.findall(text), *_MACRO_DEFINITION.findall(text)):
            table[name] = path
    return table
