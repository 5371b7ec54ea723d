"""What a program needs of a board, and whether that fits: SRAM to the byte, flash within a tenth above the truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mcugrad.errors import McugradError
from mcugrad.plan.code_size import code_bytes
from mcugrad.plan.place import busiest
from mcugrad.program import Program
from mcugrad.simulate.board import Board
from mcugrad.simulate.footprint import serial_static_bytes, static_bytes


@dataclass(frozen=True)
class Budget:
    """Predicted bytes. `static` = .data + .bss of the firmware, exact; `stack` is the board's reserve; `flash` is an
    upper bound: constants are exact, code is `code_size.code_bytes`."""

    arena: int
    model: int
    static: int
    stack: int
    constants: int
    code: int

    @property
    def sram(self) -> int:
        return self.static + self.stack

    @property
    def flash(self) -> int:
        return self.constants + self.code


def predict(program: Program, board: Board, struct_bytes: int, constants: int, files: Iterable[str]) -> Budget:
    """The needs of `program`; `struct_bytes` is sizeof(<name>_t), `files` what its folder holds."""
    output = program.buffers[program.output].elements
    target = program.buffers[program.label] if program.label is not None else None
    values = target.elements if target is not None and target.dtype == "float32" else 0
    code = code_bytes(program, files, board.core)
    static = static_bytes(struct_bytes, output, values)
    if board.real:
        static = serial_static_bytes(struct_bytes, output, values) + board.driver_data
    return Budget(program.arena_bytes, struct_bytes, static, board.stack_reserve, constants, code)


def sram_limit(board: Board, ram: int | None) -> int | None:
    """Bytes of SRAM that a program may have: the board's, or `ram` where that is less; None on the host."""
    sizes = [size for size in (ram, board.memory.ram.size if board.memory else None) if size is not None]
    return min(sizes, default=None)


def check(program: Program, board: Board, budget: Budget, ram: int | None) -> None:
    """Raises McugradError when `budget` exceeds `ram` or the board's flash, naming the busiest layer and what is alive
    there."""
    if ram is not None and budget.sram > ram:
        owner = f"{board.name} has {ram}" if board.memory and ram == board.memory.ram.size else f"--ram allows {ram}"
        raise McugradError(
            f"the program needs {budget.sram} bytes of SRAM and {owner}: {_peak_text(program)}; "
            "train fewer layers (--train), or take a smaller model or input"
        )
    if board.memory is None:
        return
    flash = board.memory.flash.size
    if budget.flash > flash:
        raise McugradError(
            f"the program needs about {budget.flash} bytes of flash ({budget.constants} of constants) and {board.name} "
            f"has {flash}: take a smaller model, or fewer classes (--classes)"
        )


def _peak_text(program: Program) -> str:
    peak = busiest(program)
    alive = sorted(peak.buffers, key=lambda b: (-b.size, b.name))
    shown = ", ".join(f"{b.name} {b.size}" for b in alive[:4])
    more = f" and {len(alive) - 4} more" if len(alive) > 4 else ""
    state = sum(program.buffers[n].nbytes for n in program.state)
    layer = program.calls[peak.call].layer
    return (
        f"the arena peaks at layer '{layer}' with {peak.size} bytes alive ({shown}{more}), "
        f"trained parameters take {state}"
    )
