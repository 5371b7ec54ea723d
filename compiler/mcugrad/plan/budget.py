"""What a program needs of a board, and whether that fits: SRAM to the byte, flash as constants plus measured code."""

from __future__ import annotations

from dataclasses import dataclass

from mcugrad.errors import McugradError
from mcugrad.plan.arena import Buffer, peak
from mcugrad.program import Program
from mcugrad.simulate.board import Board
from mcugrad.simulate.footprint import static_bytes

KERNEL_CODE = 900  # bytes of Thumb-2 code a kernel takes at most, on average (tests/bench)
SESSION_CODE = 6500  # start-up, session and the C library's memory functions
CALL_CODE = 64  # one emitted call with its arguments
DESCRIPTOR_BYTES = 80


@dataclass(frozen=True)
class Budget:
    """Predicted bytes. `static` = .data + .bss of the firmware, exact; `stack` is the board's reserve; `flash` is an
    estimate: constants are exact, code is a bound by the number of kernels and calls."""

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


def predict(program: Program, board: Board, struct_bytes: int, constant_bytes: int, kernels: int) -> Budget:
    """The needs of `program`; `struct_bytes` is sizeof(<name>_t)."""
    output = program.buffers[program.output].elements
    target = program.buffers[program.label] if program.label is not None else None
    values = target.elements if target is not None and target.dtype == "float32" else 0
    code = SESSION_CODE + kernels * KERNEL_CODE + len(program.calls) * (CALL_CODE + DESCRIPTOR_BYTES)
    static = static_bytes(struct_bytes, output, values)
    return Budget(program.arena_bytes, struct_bytes, static, board.stack_reserve, constant_bytes, code)


def check(program: Program, board: Board, budget: Budget) -> None:
    """Raises McugradError when `budget` exceeds the board, naming the busiest layer and what is alive there."""
    if board.memory is None:
        return
    ram, flash = board.memory.ram.size, board.memory.flash.size
    if budget.sram > ram:
        raise McugradError(
            f"the program needs {budget.sram} bytes of SRAM and {board.name} has {ram}: {_peak_text(program)}; "
            "train fewer layers (--train), or take a smaller model or input"
        )
    if budget.flash > flash:
        raise McugradError(
            f"the program needs about {budget.flash} bytes of flash ({budget.constants} of constants) and {board.name} "
            f"has {flash}: take a smaller model, or fewer classes (--classes)"
        )


def _peak_text(program: Program) -> str:
    spans = program.lifetimes()
    busiest = peak([Buffer(n, program.buffers[n].nbytes, *span) for n, span in sorted(spans.items())])
    alive = sorted(busiest.buffers, key=lambda b: (-b.size, b.name))
    shown = ", ".join(f"{b.name} {b.size}" for b in alive[:4])
    more = f" and {len(alive) - 4} more" if len(alive) > 4 else ""
    state = sum(program.buffers[n].nbytes for n in program.state)
    layer = program.calls[busiest.call].layer
    return (
        f"the arena peaks at layer '{layer}' with {busiest.size} bytes alive ({shown}{more}), "
        f"trained parameters take {state}"
    )
