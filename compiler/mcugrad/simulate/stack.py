"""A bound on the stack of a linked firmware: the deepest path from reset through its call graph.

Edges come from the disassembly of what was linked, so none can be missed: direct calls and tail calls as they stand,
an indirect one to every function whose address the program holds. In a file that _POINTERS names it leads to those of
them that lie where the rule says, and to those to which no pointer of the program would lead by the rules: a table
that the rules do not know makes the bound larger, never too small. A frame is the larger of what GCC's -fstack-usage
says and what the function's instructions push; code without a .su file (libc, libgcc, naked assembly) has the latter
alone.
"""

from __future__ import annotations

import bisect
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.simulate.core import Core
from mcugrad.simulate.elf import Elf
from mcugrad.simulate.instructions import TARGET, instructions
from mcugrad.simulate.toolchain import find_tool

# Where the function pointers of one of our files lead, by names of files: there the tables are made that it is given.
_POINTERS = {
    r"serial|serial_verbs": r"serial_main|\w+_serial",
    r"flash_log": r"storage\w*",
    r"row_chain_s8": r"row_stage_\w+",
}
_STARTUP = "startup"  # whose functions the core enters by itself
# The linker's map: address and object file of a function's section, the file numbered as build.py does.
_SECTION = re.compile(r"^ \.text\.\S+\s+0x([0-9a-f]+)\s+0x[0-9a-f]+ .*?/\d+_(\w+)\.o$", re.MULTILINE)


@dataclass(eq=False)
class _Function:
    name: str
    address: int
    frame: int = 0
    calls: set[int] = field(default_factory=set)  # addresses of functions
    indirect: bool = False
    falls_through: bool = True


def read_stack_usage(folder: Path) -> dict[str, int]:
    """Frame bytes by function from the .su files of a folder, the largest where names repeat.

    Raises McugradError for a function whose frame has no fixed size.
    """
    frames: dict[str, int] = {}
    for path in sorted(folder.glob("*.su")):
        for line in path.read_text(encoding="utf-8").splitlines():
            where, size, kind = line.split("\t")
            name = where.rsplit(":", 1)[1]
            if kind.startswith("dynamic") and "bounded" not in kind:
                raise McugradError(f"{name} in {path.stem} takes stack by a run-time size: its use has no bound")
            frames[name] = max(frames.get(name, 0), int(size))
    return frames


def stack_bound(elf: Path, image: Elf, core: Core, frames: dict[str, int], entry: str = "mg_reset") -> int:
    """Bytes of stack that the program at `elf` can use at most, from `entry` on, plus one exception frame.

    `frames`: see `read_stack_usage`. Raises McugradError when the program is recursive.
    """
    functions = _disassemble(elf, image, core)
    for function in functions.values():
        name = function.name
        # A clone, `f.part.0`, is listed under its origin's name.
        function.frame = max(function.frame, frames.get(name.split(".")[0], 0), frames.get(name, 0))
    files = _files(elf)
    taken = {at for at in _address_taken(image, core, functions) if files.get(at) != _STARTUP}
    _follow_pointers([function for function in functions.values() if function.indirect], taken, files)
    start = next(function for function in functions.values() if function.name == entry)
    return _deepest(functions, start, {}, ()) + core.exception_frame


def _deepest(
    functions: dict[int, _Function], function: _Function, known: dict[int, int], path: tuple[_Function, ...]
) -> int:
    """Stack bytes of `function` and everything below it; `path` leads to it."""
    if function in path:
        cycle = " -> ".join(f.name for f in (*path[path.index(function) :], function))
        raise McugradError(f"the program calls itself ({cycle}): its stack use has no bound")
    if function.address not in known:
        below = [_deepest(functions, functions[callee], known, (*path, function)) for callee in sorted(function.calls)]
        known[function.address] = function.frame + max(below, default=0)
    return known[function.address]


def _files(elf: Path) -> dict[int, str]:
    """The file's stem of each function that has a section of its own, by address, from the map beside `elf`."""
    text = elf.with_suffix(".map").read_text(encoding="utf-8")
    return {int(address, 16): stem for address, stem in _SECTION.findall(text)}


def _follow_pointers(callers: list[_Function], taken: set[int], files: dict[int, str]) -> None:
    """Adds to each caller what its pointers can lead to."""
    by_rule = [_pointed_at(files.get(caller.address, ""), taken, files) for caller in callers]
    strays = taken.difference(*by_rule)
    for caller, found in zip(callers, by_rule, strict=True):
        caller.calls |= found | strays


def _pointed_at(file: str, taken: set[int], files: dict[int, str]) -> set[int]:
    """Which of the functions whose address is taken a pointer in `file` leads to, all where it has no rule."""
    rule = next((to for name, to in _POINTERS.items() if re.fullmatch(name, file)), None)
    return taken if rule is None else {at for at in taken if re.fullmatch(rule, files.get(at, ""))}


def _disassemble(elf: Path, image: Elf, core: Core) -> dict[int, _Function]:
    """All functions of .text by address."""
    symbols = {s.value & ~1: s.name for s in image.symbols if s.kind == "function" and s.section == ".text"}
    functions = {address: _Function(symbols[address], address) for address in sorted(symbols)}
    starts = list(functions)
    command = [find_tool(f"{core.tools}objdump"), "-d", "-z", "--no-show-raw-insn", "-j", ".text", str(elf)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    current: _Function | None = None
    for address, mnemonic, operands in instructions(text):
        if address in functions:
            if current is not None and current.falls_through:
                current.calls.add(address)  # assembly with several entries
            current = functions[address]
        if current is not None:
            _read(current, core, mnemonic, operands, starts)
    return functions


def _read(function: _Function, core: Core, mnemonic: str, operands: str, starts: list[int]) -> None:
    if mnemonic.startswith((".", "nop")) or (mnemonic, operands) == ("movs", "r0, r0"):
        return  # literals and padding
    effect = core.read(mnemonic, operands)
    function.frame += effect.pushed
    function.indirect |= effect.indirect
    function.falls_through = not effect.ends
    target = TARGET.search(operands) if effect.goes else None
    if target is not None:
        callee = starts[bisect.bisect_right(starts, int(target[1], 16)) - 1]
        if callee != function.address or effect.calls:
            function.calls.add(callee)


def _address_taken(image: Elf, core: Core, functions: dict[int, _Function]) -> set[int]:
    """Functions whose address the image holds, by the linker's relocations; the vectors' own words do not count."""
    text = image.sections[".text"].address
    held = {to & ~1 for at, to in image.references if not text <= at < text + core.vectors}
    return held & set(functions)
