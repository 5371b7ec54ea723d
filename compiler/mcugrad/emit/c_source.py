"""Program -> the C text of every call, descriptor and table. Templates arrange these strings."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field

import numpy as np

from mcugrad.emit.layout import C_TYPES
from mcugrad.program import (
    Apply,
    Arena,
    Argument,
    Buffer,
    ErrorType,
    Field,
    Function,
    KernelCall,
    Kind,
    Label,
    Null,
    Place,
    Program,
    PushedRows,
    Random,
    Rate,
    Ref,
    Store,
    Struct,
    Table,
    Value,
)

ERROR_TYPES = {"int8": "MG_S8", "int16": "MG_S16", "float32": "MG_F32"}


def identifier(name: str) -> str:
    """A C identifier that still reads like the ONNX name."""
    text = re.sub(r"\W+", "_", name).strip("_")
    return text if text and not text[0].isdigit() else f"n{text}"


def number(value: float) -> str:
    """A C literal: the shortest decimal that is this float32, or an integer."""
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    plain = repr(float(text))
    short = plain if np.float32(plain) == np.float32(value) and len(plain) <= len(text) + 2 else text
    return f"{short}f"


@dataclass(frozen=True)
class Call:
    """One statement of the emitted program: plain kernel call, or one with a scaled error store around it."""

    index: int
    text: str
    comment: str
    store: str = ""  # initialiser of mg_store_t
    ratio: str = ""  # state field that predicts the scale; "" for float32 errors and where the kernel does that itself
    scale_slot: int = -1  # of the scale; -1 for float32 errors
    has_literal: bool = False  # an argument is a compound literal, which lives as long as the block that it stands in


@dataclass
class Printer:
    """Collects descriptors while it prints the calls of `program`; `name` prefixes every external symbol."""

    program: Program
    name: str
    descriptors: dict[str, str] = field(default_factory=dict)  # text -> identifier
    _identifiers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parts = self.program.parts()

    def identifier_of(self, buffer: str) -> str:
        """Unique C identifier of a buffer."""
        if buffer not in self._identifiers:
            base = wanted = identifier(buffer)
            taken, count = set(self._identifiers.values()), 1
            while wanted in taken:
                count += 1
                wanted = f"{base}_{count}"
            self._identifiers[buffer] = wanted
        return self._identifiers[buffer]

    def pointer(self, ref: Ref) -> str:
        buffer = self.program.buffers[self.program.root(ref.buffer)]
        offset = f" + {ref.offset}" if ref.offset else ""
        own = self.program.buffers[ref.buffer]
        if buffer.in_arena:
            place = self.program.offsets[buffer.name] + ref.offset * (own.nbytes // max(own.elements, 1))
            return f"ARENA({C_TYPES[own.dtype]}, {place})"
        if buffer.kind is Kind.STATE:
            return f"m->state.{self.identifier_of(buffer.name)}{offset}"
        if buffer.kind is Kind.ARGUMENT:
            return buffer.name
        return f"{self.constant(buffer)}{offset}"

    def constant(self, buffer: Buffer) -> str:
        return f"{self.name}_{self.identifier_of(buffer.name)}"

    def calls(self, phase: str) -> list[Call]:
        """The statements of one phase."""
        return [self._call(i, c) for i, c in enumerate(self.program.calls) if c.phase == phase]

    def _call(self, index: int, call: KernelCall) -> Call:
        text = f"{call.kernel}({', '.join(self._argument(a) for a in call.args)})"
        if call.returns_saturated:
            text = f"m->saturated_weights += {text}"
        if call.result is not None:
            text = f"const float {call.result} = {text}"
        store = call.store
        if store is None:
            return Call(index, text, call.layer, has_literal=any(map(self._is_literal, call.args)))
        scaled, state = store.out in self.program.ratios, f"{store.out}.ratio"
        predicted = scaled and state not in call.writes
        ratio = f"m->state.{self.identifier_of(state)}[0]" if predicted else ""
        slot = self.program.ratios.index(store.out) if scaled else -1
        return Call(index, text, call.layer, self._store(store), ratio, slot)

    def _is_literal(self, argument: Argument) -> bool:
        return isinstance(argument, Struct) and not self.program.is_constant(argument)

    def _argument(self, argument: Argument) -> str:
        match argument:
            case Ref():
                return self.pointer(argument)
            case Value():
                return number(argument.value)
            case Struct():
                return f"&{self._descriptor(argument)}"
            case Table():
                return self._table(argument)
            case Arena():
                return "ARENA(int8_t, 0)"
            case PushedRows():
                return "m->pushed_rows"
            case Null():
                return "NULL"
            case Label():
                return "label"
            case ErrorType():
                return ERROR_TYPES[self.program.buffers[argument.buffer].dtype]
            case Rate():
                return self._product("rate", argument.error, argument.factor)
            case Random():
                return f"of_tensor(&random, {argument.tensor}u)"
            case Apply():
                return "apply"
            case Store():
                return "&s"

    def _product(self, first: str, error: str | None, factor: float) -> str:
        parts = [first] if first else []
        if error is not None:
            parts.append(f"m->error_scale[{self.program.ratios.index(error)}]")
        if factor != 1.0 or not parts:
            parts.append(number(factor))
        return " * ".join(parts)

    def _scaled(self, error: str) -> str | None:
        """The error whose scale the values of `error` are in; None for float32. Views go back no further than to it:
        where it took over the bytes of a dead error, those have another scale."""
        while error not in self.program.ratios and error in self.program.views:
            error = self.program.views[error]
        return error if error in self.program.ratios else None

    def _store(self, store: Store) -> str:
        kind = ERROR_TYPES[self.program.buffers[store.out].dtype]
        fields = [f".out = {self.pointer(Ref(store.out))}", f".out_type = {kind}"]
        fields.append(f".base_scale = {self._product('', store.base, store.base_factor)}")
        if store.skip is not None:
            owner = self._scaled(store.skip)
            fields.append(f".skip = {self.pointer(Ref(store.skip))}")
            fields.append(f".skip_type = {ERROR_TYPES[self.program.buffers[store.skip].dtype]}")
            fields.append(f".skip_scale = {self._product('', owner, store.skip_factor)}")
        if store.mult is not None:
            fields.append(f".mult = {self.pointer(Ref(store.mult))}")
        if store.mask is not None:
            packed = self.program.buffers[store.mask].kind is Kind.MASK
            fields.append(f".mask{'_bits' if packed else ''} = {self.pointer(Ref(store.mask))}")
        if store.mask is not None and not packed:
            fields += [f".mask_min = {store.mask_min}", f".mask_max = {store.mask_max}"]
        return ", ".join(fields)

    def _descriptor(self, struct: Struct) -> str:
        if struct in self._parts:
            whole, name = self._parts[struct]
            return f"{self._descriptor(whole)}.{name}"
        text = self._field(struct)
        if not self.program.is_constant(struct):
            return f"({struct.type}){text}"
        return self._constant_descriptor(struct.type, "", text)

    def _table(self, table: Table) -> str:
        rows = ", ".join(self._field(row) for row in table.rows)
        return self._constant_descriptor(table.rows[0].type, f"[{len(table.rows)}]", f"{{{rows}}}")

    def _constant_descriptor(self, kind: str, dimension: str, text: str) -> str:
        key = f"static const {kind} @{dimension} = {text};"
        if key not in self.descriptors:
            stem = kind.removeprefix("mg_").removesuffix("_t")
            self.descriptors[key] = f"{stem}_{len(self.descriptors)}"
        return self.descriptors[key]

    def _field(self, value: Field) -> str:
        match value:
            case Struct():
                return "{" + ", ".join(f".{name} = {self._field(v)}" for name, v in value.fields) + "}"
            case tuple():
                return "{" + ", ".join(str(v) for v in value) + "}"
            case Ref():
                return self.pointer(value)
            case Place():
                return str(self.program.offsets[self.program.root(value.buffer)])
            case Function():
                return value.name
            case Null():
                return "NULL"
        return number(value)

    def descriptor_lines(self) -> list[str]:
        """Definitions of all descriptors that the calls printed so far point to."""
        return [text.replace("@", name, 1) for text, name in self.descriptors.items()]


def table(values: np.ndarray) -> list[str]:
    """The elements of a constant, a line of at most 100 characters at a time."""
    flat = values.ravel()
    texts = [number(float(v)) for v in flat] if values.dtype.kind == "f" else [_integer(int(v)) for v in flat]
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) + 2 > 100:
            lines.append(line)
            line = ""
        line += f"{text}, "
    return [*lines, line.rstrip()]


def wrap(statement: str, indent: int) -> str:
    """A C statement on lines of at most 120 columns; `indent` is where its first line starts."""
    width, later = 120 - indent, " " * (indent + 4)
    lines = textwrap.wrap(statement, width, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False)
    return "\n".join([lines[0], *(later + line.lstrip() for line in lines[1:])])


def _integer(value: int) -> str:
    return "INT32_MIN" if value == -(2**31) else str(value)
