"""Reads what we need of an ELF file: sections, symbols, bytes. Little-endian, 32 or 64 bits."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mcugrad.errors import McugradError

_SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS, _SHT_REL = 2, 4, 8, 9
_R_ARM_ABS32 = 2
_R_RISCV_ADDRESSES = (1, 23, 26)  # R_RISCV_32, and the upper halves: R_RISCV_PCREL_HI20, R_RISCV_HI20
_SHF_ALLOC = 2


@dataclass(frozen=True)
class Section:
    """`address` and `size` in bytes; `data` is empty for sections without content in the file (.bss)."""

    name: str
    address: int
    size: int
    allocated: bool
    data: bytes


@dataclass(frozen=True)
class Symbol:
    """`kind`: "object", "function" or "other"; `section` is None for absolute and undefined symbols."""

    name: str
    value: int
    size: int
    kind: str
    section: str | None


@dataclass(frozen=True)
class Elf:
    """Sections by name and all symbols in file order. `references`: where the image holds an address, and which, as far
    as the linker kept its relocations (--emit-relocs)."""

    sections: dict[str, Section]
    symbols: tuple[Symbol, ...]
    references: tuple[tuple[int, int], ...] = ()

    def size(self, *names: str) -> int:
        """Bytes of the named sections together; a section that is not there counts 0."""
        return sum(self.sections[name].size for name in names if name in self.sections)

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name. Raises McugradError when there is none."""
        for symbol in self.symbols:
            if symbol.name == name:
                return symbol
        raise McugradError(f"the linked firmware has no symbol {name}: its sources are not a compiled model")

    def function_at(self, address: int) -> str | None:
        """Name of the function that holds an instruction's address."""
        for symbol in self.symbols:
            if symbol.kind == "function" and (symbol.value & ~1) <= address < (symbol.value & ~1) + max(symbol.size, 1):
                return symbol.name
        return None


def _name(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def read_elf(path: Path) -> Elf:
    """Parse `path`. Raises McugradError when it is not a little-endian ELF file."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise McugradError(f"{path} is not a little-endian ELF file: build it again")
    wide = data[4] == 2
    table, count, names_at = _header(data, wide)
    raw = [_section(data, table, i, wide) for i in range(count)]
    names = data[raw[names_at][3] : raw[names_at][3] + raw[names_at][4]]
    sections = [
        Section(
            _name(names, n),
            address,
            size,
            bool(flags & _SHF_ALLOC),
            b"" if kind == _SHT_NOBITS else data[at : at + size],
        )
        for n, kind, address, at, size, flags, _ in raw
    ]
    symbols: list[Symbol] = []
    for section, fields in zip(sections, raw, strict=True):
        if fields[1] == _SHT_SYMTAB:
            symbols += _symbols(section.data, sections[fields[6]].data, sections, wide)
    references: list[tuple[int, int]] = []
    for section, fields in zip(sections, raw, strict=True):
        if not wide:
            references += _references(section, fields[1], sections, symbols)
    return Elf({section.name: section for section in sections if section.name}, tuple(symbols), tuple(references))


def _references(part: Section, kind: int, sections: list[Section], symbols: list[Symbol]) -> Iterator[tuple[int, int]]:
    """Of one section of relocations, 32 bits: Arm's have the address in place, RISC-V's by symbol and addend. Only of
    functions there: a label may have a function's address, as the start of flash has."""
    if kind == _SHT_REL:
        for at, info in struct.iter_unpack("<II", part.data):
            home = next((s for s in sections if s.allocated and s.address <= at < s.address + len(s.data)), None)
            if info & 255 == _R_ARM_ABS32 and home is not None:
                yield at, struct.unpack_from("<I", home.data, at - home.address)[0]
    if kind == _SHT_RELA:
        for at, info, addend in struct.iter_unpack("<IIi", part.data):
            if info & 255 in _R_RISCV_ADDRESSES and symbols[info >> 8].kind == "function":
                yield at, symbols[info >> 8].value + addend


def _header(data: bytes, wide: bool) -> tuple[int, int, int]:
    """(offset of the section table, number of sections, index of the section of names)."""
    if wide:
        return struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 60)
    return struct.unpack_from("<I", data, 32)[0], *struct.unpack_from("<HH", data, 48)


def _section(data: bytes, table: int, i: int, wide: bool) -> tuple[int, int, int, int, int, int, int]:
    """(name, type, address, offset, size, flags, link) of section i."""
    if wide:
        name, kind, flags, address, offset, size, link = struct.unpack_from("<IIQQQQI", data, table + 64 * i)
    else:
        name, kind, flags, address, offset, size, link = struct.unpack_from("<IIIIIII", data, table + 40 * i)
    return name, kind, address, offset, size, flags, link


def _symbols(data: bytes, names: bytes, sections: list[Section], wide: bool) -> list[Symbol]:
    kinds = {1: "object", 2: "function"}
    symbols = []
    for at in range(0, len(data), 24 if wide else 16):
        if wide:
            name, info, _, where, value, size = struct.unpack_from("<IBBHQQ", data, at)
        else:
            name, value, size, info, _, where = struct.unpack_from("<IIIBBH", data, at)
        section = sections[where].name if 0 < where < len(sections) else None
        symbols.append(Symbol(_name(names, name), value, size, kinds.get(info & 15, "other"), section))
    return symbols
