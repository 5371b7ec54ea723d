"""The second IR: which kernel is called when, over which bytes.

A `Program` is an ordered list of C kernel calls over named buffers. Lowering makes it, the planner orders it and gives
every arena buffer an offset, emission prints it; budgets, reports and the manifest read it. Everything is frozen: a
stage returns a new Program.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

ITEM_BYTES = {"int8": 1, "uint8": 1, "uint16": 2, "int16": 2, "int32": 4, "uint32": 4, "float32": 4}


class Kind(Enum):
    """Where a buffer lives."""

    INPUT = "input"  # arena: the sample, alive from the first call
    ACTIVATION = "activation"  # arena
    MASK = "mask"  # arena: one bit an element, where an activation did not saturate
    ERROR = "error"  # arena: gradient of the loss by an activation or accumulator
    VECTOR = "vector"  # arena: a float32 vector of the head or the loss
    SCRATCH = "scratch"  # arena: what a call works in; nothing passes through it to another
    CONST = "const"  # flash
    STATE = "state"  # SRAM, survives the step: trained parameters, what their rounding left, error ratios
    ARGUMENT = "argument"  # the caller's memory: label or target


_IN_ARENA = (Kind.INPUT, Kind.ACTIVATION, Kind.MASK, Kind.ERROR, Kind.VECTOR, Kind.SCRATCH)


@dataclass(frozen=True)
class Buffer:
    """One tensor in memory. `value` is the content of a constant or the factory content of a state."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Kind
    layer: str = ""
    scale: float | tuple[float, ...] | None = None
    zero_point: int | None = None
    value: npt.NDArray[np.generic] | None = field(default=None, compare=False, repr=False)
    rows_first: bool = False  # HCW: row by row of all channels, in place of channel by channel
    in_pairs: bool = False  # weights of two output channels side by side (mg_conv2d_rows_s8), aligned to a word
    frozen: str = ""  # the constant with the input channels behind those of this trained weight, in pairs

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * ITEM_BYTES[self.dtype]

    @property
    def in_arena(self) -> bool:
        return self.kind in _IN_ARENA


@dataclass(frozen=True)
class Ref:
    """Pointer to element `offset` of a buffer."""

    buffer: str
    offset: int = 0


@dataclass(frozen=True)
class Null:
    """A null pointer."""


@dataclass(frozen=True)
class Place:
    """The byte offset of a buffer in the arena: what a constant descriptor can hold of it."""

    buffer: str


@dataclass(frozen=True)
class Function:
    """Pointer to a function of the runtime."""

    name: str


@dataclass(frozen=True)
class Struct:
    """Pointer to a constant descriptor `type` with these fields, in declaration order; inside another it is a part."""

    type: str
    fields: tuple[tuple[str, Field], ...]

    @property
    def words(self) -> int:
        """32-bit words of its fields."""
        return sum(v.words if isinstance(v, Struct) else len(v) if isinstance(v, tuple) else 1 for _, v in self.fields)

    def values(self) -> Iterator[Field]:
        """The fields' values, those of parts in place of the parts."""
        for _, value in self.fields:
            if isinstance(value, Struct):
                yield from value.values()
            else:
                yield value


Field: TypeAlias = "int | float | tuple[int, ...] | Ref | Null | Place | Function | Struct"


@dataclass(frozen=True)
class Table:
    """Pointer to a constant array of descriptors of one type."""

    rows: tuple[Struct, ...]


@dataclass(frozen=True)
class Arena:
    """Pointer to the arena's first byte."""


@dataclass(frozen=True)
class PushedRows:
    """How many rows of the sample have come, where it is pushed row by row."""


@dataclass(frozen=True)
class Value:
    """A number passed by value."""

    value: int | float


@dataclass(frozen=True)
class Label:
    """The class index handed to the training step."""


@dataclass(frozen=True)
class ErrorType:
    """The mg_dtype_t of an error buffer."""

    buffer: str


@dataclass(frozen=True)
class Rate:
    """The step's learning rate times `factor`, times the scale of `error` when it has one."""

    factor: float
    error: str | None = None


@dataclass(frozen=True)
class Random:
    """Descriptor of the random stream of one trained tensor at this step."""

    tensor: int


@dataclass(frozen=True)
class Apply:
    """Whether this step moves the parameters: the last of as many as gradients accumulate over."""


@dataclass(frozen=True)
class Store:
    """The epilogue of an error kernel (mg_store_t): masks, scales, the second summand, the output."""

    out: str
    base: str | None = None  # whose error scale multiplies the accumulator
    base_factor: float = 1.0
    skip: str | None = None
    skip_factor: float = 1.0
    mult: str | None = None
    mask: str | None = None  # an activation, or the packed mask of one
    mask_min: int = -128
    mask_max: int = 127


Argument = Ref | Struct | Table | Arena | PushedRows | Value | Null | Label | ErrorType | Rate | Random | Apply | Store
Work = Literal["forward", "dgrad", "wgrad", "other"]
Phase = Literal["forward", "backward"]


@dataclass(frozen=True)
class KernelCall:
    """One call of a C kernel. `inplace` lists (output, input) pairs that may share their bytes. `dgrad_macs`: those of
    the gradient by the input, where a call that updates weights makes that too."""

    kernel: str
    layer: str
    op: str
    args: tuple[Argument, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    phase: Phase = "forward"
    work: Work = "other"
    macs: int = 0
    dgrad_macs: int = 0
    inplace: tuple[tuple[str, str], ...] = ()
    returns_saturated: bool = False
    result: str | None = None  # a scalar buffer that takes the return value

    @property
    def store(self) -> Store | None:
        return next((a for a in self.args if isinstance(a, Store)), None)

    @property
    def descriptors(self) -> tuple[Struct, ...]:
        """Every descriptor that it is given."""
        structs = (a.rows if isinstance(a, Table) else (a,) for a in self.args if isinstance(a, (Struct, Table)))
        return tuple(s for rows in structs for s in rows)


@dataclass(frozen=True)
class Program:
    """`calls` in execution order; forward calls come first. `views` maps a buffer to the one whose bytes it is.

    `overlaps` (lower, upper, bytes): one call writes `lower` while it reads `upper`, and they may share bytes where
    `upper` begins at least that many behind the beginning of `lower`. Where `pushed`, the sample is never whole:
    `input` is a ring of its last rows, and the first call is repeated after each row that comes.
    """

    buffers: dict[str, Buffer]
    calls: tuple[KernelCall, ...]
    input: str
    output: str
    views: dict[str, str] = field(default_factory=dict)
    loss: str | None = None
    label: str | None = None
    unit: str | None = None  # the scalar G that predicts every error scale
    ratios: tuple[str, ...] = ()  # error buffers with a delayed scale, in the order of the `ratio` state
    state: tuple[str, ...] = ()
    rests: tuple[str, ...] = ()  # the part of `state` that holds what rounding left, or what waits to be applied
    accumulate: int = 1  # parameters move at every accumulate-th step
    overlaps: tuple[tuple[str, str, int], ...] = ()
    pushed: bool = False
    offsets: dict[str, int] = field(default_factory=dict)
    arena_bytes: int = 0
    arena_lower_bound: int = 0

    def root(self, name: str) -> str:
        """The buffer whose bytes `name` really is."""
        return root_of(self.views, name)

    def is_constant(self, struct: Struct) -> bool:
        """Whether a descriptor points to nothing but constants, so that it can be one."""
        homes = (self.buffers[self.root(v.buffer)].kind for v in struct.values() if isinstance(v, Ref))
        return all(kind is Kind.CONST for kind in homes)

    def parts(self) -> dict[Struct, tuple[Struct, str]]:
        """The constant descriptors that are a field of another one, with it: they need no bytes of their own."""
        given = (a for call in self.calls for a in call.args if isinstance(a, Struct) and self.is_constant(a))
        return {v: (s, name) for s in dict.fromkeys(given) for name, v in s.fields if isinstance(v, Struct)}

    def phase(self, phase: str) -> Iterator[KernelCall]:
        return (c for c in self.calls if c.phase == phase)

    def lifetimes(self) -> dict[str, tuple[int, int]]:
        """First and last call index, both inclusive, of every arena buffer. Input and output outlive the calls."""
        spans: dict[str, tuple[int, int]] = {}
        for index, call in enumerate(self.calls):
            for name in {self.root(n) for n in (*call.reads, *call.writes)}:
                if self.buffers[name].in_arena:
                    first, _ = spans.get(name, (index, index))
                    spans[name] = (first, index)
        start = self.root(self.input)
        spans[start] = (0, spans.get(start, (0, 0))[1])
        end = self.root(self.output)
        last_forward = sum(1 for c in self.calls if c.phase == "forward") - 1
        spans[end] = (spans[end][0] if end in spans else 0, max(spans.get(end, (0, 0))[1], last_forward))
        return spans


def root_of(views: Mapping[str, str], name: str) -> str:
    """Follows views to the buffer that has the bytes."""
    while name in views:
        name = views[name]
    return name
