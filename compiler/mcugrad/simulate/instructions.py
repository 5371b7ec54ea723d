"""objdump's text, and what an instruction of it does to the stack and to the flow of control, by kind of core."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """`pushed`: bytes by which the stack pointer moves down; `goes`: it may continue at the address that its operands
    name; `calls`: and comes back; `indirect`: at one that a register holds; `ends`: a function can end with it (with a
    call, if that one does not return)."""

    pushed: int = 0
    goes: bool = False
    calls: bool = False
    indirect: bool = False
    ends: bool = False


Reader = Callable[[str, str], Effect]
TARGET = re.compile(r"([0-9a-f]+) <")
_INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\t(\S+)(?:\t([^;@]*))?")

_ARM_BRANCH = re.compile(r"b(l|lx|x|eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?$")
_ARM_ENDS = frozenset(("b", "bx", "bl", "blx", "tbb", "tbh", "udf"))
_RISCV_BRANCH = re.compile(r"b(eq|ne|lt|ge|gt|le)(u|z)?$")


def instructions(listing: str) -> Iterator[tuple[int, str, str]]:
    """Address, mnemonic and operands of each instruction that `objdump -d --no-show-raw-insn` printed."""
    for line in listing.splitlines():
        if found := _INSTRUCTION.match(line):
            yield int(found[1], 16), found[2], (found[3] or "").strip()


def read_arm(mnemonic: str, operands: str) -> Effect:
    """Thumb-2."""
    base = mnemonic.split(".")[0]
    pushed = _arm_pushed(base, operands)
    # `ldr pc` and `mov pc` return or switch inside the function; GCC makes no calls of them on Cortex-M.
    ends = base in _ARM_ENDS or "pc" in operands.split("[")[0]
    if not (_ARM_BRANCH.match(base) or base in ("cbz", "cbnz")):
        return Effect(pushed, ends=ends)
    if TARGET.search(operands) is None:
        return Effect(pushed, indirect=operands != "lr", ends=ends)
    return Effect(pushed, goes=True, calls=base in ("bl", "blx"), ends=ends)


def _arm_pushed(base: str, operands: str) -> int:
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


def read_riscv(mnemonic: str, operands: str) -> Effect:
    """RV32 as objdump prints it, aliases and all. What `addi sp,sp,-N` cannot say of a frame, -fstack-usage does."""
    if mnemonic == "ret":
        return Effect(ends=True)
    if mnemonic in ("j", "jr", "unimp", "mret", "ebreak") or (mnemonic in ("jal", "jalr") and operands[:4] == "zero"):
        return Effect(goes=_names(operands), indirect=mnemonic in ("jr", "jalr") and not _names(operands), ends=True)
    if mnemonic in ("jal", "jalr"):
        return Effect(goes=_names(operands), calls=_names(operands), indirect=not _names(operands), ends=True)
    if _RISCV_BRANCH.match(mnemonic):
        return Effect(goes=True)
    moved = re.match(r"sp,sp,-(\d+)$", operands) if mnemonic == "addi" else None
    return Effect(int(moved[1]) if moved else 0)


def _names(operands: str) -> bool:
    return TARGET.search(operands) is not None
