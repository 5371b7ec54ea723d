"""A bound on the stack of a linked ARM firmware: the deepest path from reset through its call graph.

Edges come from the disassembly of what was linked, so none can be missed: direct calls and tail calls as they stand,
an indirect one to every function whose address the program holds. A frame is the larger of what GCC's -fstack-usage
says and what the function's instructions push; code without a .su file (libc, libgcc, naked assembly)
has the latter alone.
"""

from __future__ import annotations

import bisect
import re
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.simulate.elf import Elf
from mcugrad.simulate.toolchain import find_tool

# A fault's frame on ARMv7-M with FPU: 26 words, and one to align it.
EXCEPTION_FRAME = 108
_VECTORS = 16

_INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\t(\S+)(?:\t([^;@]*))?")
_TARGET = re.compile(r"([0-9a-f]+) <")
_BRANCH = re.compile(r"b(l|lx|x|eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.n|\.w)?$")
_ENDS = re.compile(r"(b|bx|bl|blx|tbb|tbh|udf)(\.n|\.w)?$")


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


def stack_bound(elf: Path, image: Elf, frames: dict[str, int], entry: str = "mg_reset") -> int:
    """Bytes of stack that the program at `elf` can use at most, from `entry` on, plus one exception frame.

    `frames`: see `read_stack_usage`. Raises McugradError when the program is recursive.
    """
    functions = _disassemble(elf, image)
    for function in functions.values():
        name = function.name
        # A clone, `f.part.0`, is listed under its origin's name.
        function.frame = max(function.frame, frames.get(name.split(".")[0], 0), frames.get(name, 0))
    taken = _address_taken(image, functions)
    for function in functions.values():
        if function.indirect:
            function.calls |= taken
    start = next(function for function in functions.values() if function.name == entry)
    return _deepest(functions, start, {}, ()) + EXCEPTION_FRAME


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


def _disassemble(elf: Path, image: Elf) -> dict[int, _Function]:
    """All functions of .text by address."""
    symbols = {s.value & ~1: s.name for s in image.symbols if s.kind == "function" and s.section == ".text"}
    functions = {address: _Function(symbols[address], address) for address in sorted(symbols)}
    starts = list(functions)
    command = [find_tool("arm-none-eabi-objdump"), "-d", "-z", "--no-show-raw-insn", "-j", ".text", str(elf)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    current: _Function | None = None
    for line in text.splitlines():
        instruction = _INSTRUCTION.match(line)
        if instruction is None:
            continue
        address = int(instruction[1], 16)
        if address in functions:
            if current is not None and current.falls_through:
                current.calls.add(address)  # assembly with several entries
            current = functions[address]
        if current is not None:
            _read(current, instruction[2], (instruction[3] or "").strip(), starts)
    return functions


def _read(function: _Function, mnemonic: str, operands: str, starts: list[int]) -> None:
    if mnemonic.startswith((".", "nop")) or (mnemonic, operands) == ("movs", "r0, r0"):
        return  # literals and padding
    function.frame += _pushed(mnemonic, operands)
    # `ldr pc` and `mov pc` return or switch inside the function; GCC makes no calls of them on ARMv7-M.
    function.falls_through = not (_ENDS.match(mnemonic) or "pc" in operands.split("[")[0])
    if not (_BRANCH.match(mnemonic) or mnemonic in ("cbz", "cbnz")):
        return
    target = _TARGET.search(operands)
    if target is None:
        function.indirect |= operands != "lr"
        return
    callee = starts[bisect.bisect_right(starts, int(target[1], 16)) - 1]
    if callee != function.address or mnemonic.split(".")[0] in ("bl", "blx"):
        function.calls.add(callee)


def _pushed(mnemonic: str, operands: str) -> int:
    """Bytes by which one instruction moves the stack pointer down."""
    base = mnemonic.split(".")[0]
    registers = operands[operands.find("{") :]
    if base == "push" or (base in ("stmdb", "stmfd") and operands.startswith("sp!")):
        return 4 * _count(registers)
    if base == "vpush" or (base == "vstmdb" and operands.startswith("sp!")):
        return (8 if "d" in registers else 4) * _count(registers)
    if base in ("sub", "subw", "subs") and operands.startswith("sp"):
        immediate = re.search(r"#(\d+)", operands)
        if immediate is None:
            return 0  # by a register: -fstack-usage knows it, and libc has none
        return int(immediate[1])
    writeback = re.search(r"\[sp, #-(\d+)\]!", operands)
    return int(writeback[1]) if writeback else 0


def _count(registers: str) -> int:
    """Registers in `{r4-r7, lr}` or `{d8-d9}`."""
    numbers = {"sb": 9, "sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}

    def number(register: str) -> int:
        return numbers[register] if register in numbers else int(register[1:])

    total = 0
    for part in registers.strip("{} ").split(","):
        first, _, last = part.strip().partition("-")
        total += number(last) - number(first) + 1 if last else 1
    return total


def _address_taken(image: Elf, functions: dict[int, _Function]) -> set[int]:
    """Functions whose address the image holds, by the linker's relocations; the vectors' own words do not count."""
    taken: set[int] = set()
    for name in (".text", ".rodata", ".data"):
        section = image.sections.get(name)
        if section is None:
            continue
        begin = section.address + (4 * _VECTORS if name == ".text" else 0)
        inside = (p - section.address for p in image.pointers if begin <= p < section.address + len(section.data))
        words = (struct.unpack_from("<I", section.data, at)[0] for at in inside)
        taken |= {word - 1 for word in words if word - 1 in functions}
    return taken
