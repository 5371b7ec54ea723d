"""`python -m tests.bench.kernels.schedule`: cycles of the assembly's inner loops, as llvm-mca models the two cores.

Instructions, which everything else here counts, do not say in which order they are best: a load whose result is used
at once costs a Cortex-M4 a wait and a Cortex-M7 its second issue slot. A loop is a backward branch without another
inside; it is disassembled, its branches and writes of flags are left out (the model takes a straight line), and
repeated 100 times. The model knows neither flash wait states nor caches, so only orders of the same instructions
compare. Needs llvm-mca, of Debian's `llvm`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mcugrad.resources import runtime_dir
from mcugrad.simulate.board import load_board
from mcugrad.simulate.instructions import TARGET, instructions, read_arm
from mcugrad.simulate.toolchain import find_tool

from ..networks import BUDGET_BOARD

CORES = ("cortex-m4", "cortex-m7")
_REPEATS = 100
_FUNCTION = re.compile(r"^[0-9a-f]+ <(mg_\w+)>:\n((?:.+\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Loop:
    """The instructions of one round, in GNU syntax, of the loop that begins at an address of a function."""

    function: str
    address: int
    instructions: tuple[str, ...]


def loops(source: Path) -> list[Loop]:
    """The innermost loops of an assembly file of runtime_c/src/armv7em."""
    with tempfile.TemporaryDirectory(prefix="mcugrad-schedule-") as folder:
        assembled = Path(folder) / "kernel.o"
        flags = load_board(BUDGET_BOARD).cpu_flags
        command = [find_tool("arm-none-eabi-gcc"), *flags, "-c", str(source), "-o", str(assembled)]
        subprocess.run(command, check=True)
        command = [find_tool("arm-none-eabi-objdump"), "-d", "--no-show-raw-insn", str(assembled)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [loop for name, body in _FUNCTION.findall(listing) for loop in _loops_of(name, body)]


def _loops_of(function: str, listing: str) -> list[Loop]:
    lines = list(instructions(listing))
    plain = [(at, f"{name} {operands}") for at, name, operands in lines if _is_plain(name, operands)]
    rounds = []
    for at, name, operands in lines:
        target = TARGET.search(operands) if read_arm(name, operands).goes else None
        if target is not None and int(target[1], 16) < at:
            rounds.append((int(target[1], 16), at))
    innermost = [r for r in rounds if not any(o != r and r[0] <= o[0] and o[1] <= r[1] for o in rounds)]
    return [
        Loop(function, first, tuple(text for at, text in plain if first <= at <= last)) for first, last in innermost
    ]


def _is_plain(name: str, operands: str) -> bool:
    effect = read_arm(name, operands)
    return not (effect.goes or effect.ends or name.startswith("it") or name == "msr")


def cycles(loop: Loop, core: str) -> float:
    """Cycles of one round in the steady state."""
    text = ".syntax unified\n.thumb\n" + "\n".join(map(_for_llvm, loop.instructions)) + "\n"
    command = ["llvm-mca", "-mtriple=thumbv7em-none-eabihf", f"-mcpu={core}", f"-iterations={_REPEATS}", "-"]
    done = subprocess.run(command, input=text, check=True, capture_output=True, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    assert total, done.stdout
    return int(total[1]) / _REPEATS


def _for_llvm(instruction: str) -> str:
    """Without the width, which its assembler chokes on, and the condition that an IT block, left out, gave it."""
    name, operands = instruction.split(" ", 1)
    plain = re.sub(r"^(mov|add|sub|str|ldr)(eq|ne|cs|cc|lt|ge|gt|le|hi|ls|mi|pl)$", r"\1", name.split(".")[0])
    return f"{plain} {operands}"


def main() -> None:
    """Measure and print."""
    if shutil.which("llvm-mca") is None:
        sys.exit("llvm-mca is not installed: run `sudo apt-get install llvm`")
    table = Table(title="cycles of inner loops, as llvm-mca models them", title_justify="left")
    table.add_column("loop")
    for heading in ("instructions", *CORES):
        table.add_column(heading, justify="right")
    for source in sorted((runtime_dir() / "src" / "armv7em").glob("*.S")):
        for loop in loops(source):
            found = [f"{cycles(loop, core):.1f}" for core in CORES]
            table.add_row(f"{loop.function} + {loop.address}", str(len(loop.instructions)), *found)
    Console().print(table)


if __name__ == "__main__":
    main()
