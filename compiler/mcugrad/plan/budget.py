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


@dataclass(frozen=True)
class Limits:
    """Bytes that a program may have; None: any number. `owners`: who says so, of SRAM and of flash."""

    ram: int | None
    flash: int | None
    owners: tuple[str, str]

    @staticmethod
    def of(board: Board, ram: int | None, flash: int | None) -> Limits:
        """The board's, or `ram` and `flash` where these are less."""
        sizes = (board.memory.ram.size, board.memory.flash.size) if board.memory else (None, None)
        least, owners = list[int | None](), list[str]()
        for size, asked, option in zip(sizes, (ram, flash), ("--ram", "--flash"), strict=True):
            allowed = asked is not None and (size is None or asked < size)
            least.append(asked if allowed else size)
            owners.append(f"{option} allows" if allowed else f"{board.name} has")
        return Limits(least[0], least[1], (owners[0], owners[1]))

    def hold(self, budget: Budget) -> bool:
        """Whether `budget` is within both."""
        fits = (limit is None or need <= limit for limit, need in ((self.ram, budget.sram), (self.flash, budget.flash)))
        return all(fits)


def check(program: Program, board: Board, budget: Budget, limits: Limits) -> None:
    """Raises McugradError when `budget` exceeds `limits`, naming the busiest layer and what is alive there."""
    if limits.ram is not None and budget.sram > limits.ram:
        raise McugradError(
            f"the program needs {budget.sram} bytes of SRAM and {limits.owners[0]} {limits.ram}: "
            f"{_peak_text(program)}; train fewer layers (--train), or take a smaller model or input"
        )
    if limits.flash is not None and budget.flash > limits.flash:
        raise McugradError(
            f"the program needs about {budget.flash} bytes of flash ({budget.constants} of constants) and "
            f"{limits.owners[1]} {limits.flash}: take a smaller model, or fewer classes (--classes)"
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
