"""The layout of the emitted structs, computed as the C compiler will: natural alignment, no packing, 8-byte arena."""

from __future__ import annotations

from dataclasses import dataclass

from mcugrad.program import ITEM_BYTES, Buffer, Kind, Program

BOOKKEEPING = (  # fields of <name>_state_t before the parameters; all 4 bytes
    ("uint32_t", "seed"),
    ("uint32_t", "step"),
    ("uint32_t", "total_steps"),
    ("int32_t", "schedule"),
    ("float", "learning_rate"),
)
WATCH = (  # mg_loss_watch_t, which comes next
    ("uint32_t", "watch.seen"),
    ("uint32_t", "watch.diverged"),
    ("float", "watch.mean"),
    ("float", "watch.chance"),
    ("float", "watch.start"),
    ("float", "watch.last"),
    ("float", "watch.before"),
    ("float", "watch.saved"),
)
COUNTERS = (("uint32_t", "clipped_errors"), ("uint32_t", "saturated_weights"))
C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "float32": "float",
}


def align(value: int, to: int) -> int:
    return (value + to - 1) // to * to


@dataclass(frozen=True)
class Field:
    """One trained tensor or error ratio inside <name>_state_t; `offset` in bytes from its start."""

    buffer: Buffer
    offset: int


@dataclass(frozen=True)
class Layout:
    """sizeof(<name>_state_t), and sizeof(<name>_t), whose last `arena_bytes` are the arena."""

    fields: tuple[Field, ...]
    state_bytes: int
    struct_bytes: int
    arena_bytes: int


def lay_out(program: Program) -> Layout:
    """Widest items first, so that no padding is needed inside; names keep the program's order within a width."""
    buffers = sorted((program.buffers[n] for n in program.state), key=lambda b: -ITEM_BYTES[b.dtype])
    trains = program.loss is not None
    offset = 4 * (len(BOOKKEEPING) + len(WATCH)) if trains else 0
    fields = []
    for buffer in buffers:
        assert buffer.kind is Kind.STATE, buffer.name
        offset = align(offset, ITEM_BYTES[buffer.dtype])
        fields.append(Field(buffer, offset))
        offset += buffer.nbytes
    state = align(offset, 4)
    before_arena = state + 4 * (len(COUNTERS) + len(program.ratios)) if trains else 0
    before_arena += 4 if program.pushed else 0
    arena = max(align(program.arena_bytes, 8), 8)
    return Layout(tuple(fields), state, align(before_arena, 8) + arena, arena)
