"""Compilers and emulators: found on PATH, or named with the apt line that installs them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from mcugrad.errors import McugradError
from mcugrad.simulate.board import Board

Compiler = Literal["gcc", "clang"]

_PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-objdump": "binutils-arm-none-eabi",
    "arm-none-eabi-nm": "binutils-arm-none-eabi",
    "arm-none-eabi-objcopy": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "riscv64-unknown-elf-objdump": "binutils-riscv64-unknown-elf",
    "riscv64-unknown-elf-nm": "binutils-riscv64-unknown-elf",
    "riscv64-unknown-elf-objcopy": "binutils-riscv64-unknown-elf",
    "qemu-system-riscv32": "qemu-system-misc",
    "gcc": "gcc libc6-dev",
    "clang": "clang libc6-dev",
}


def find_tool(name: str) -> str:
    """Path of a tool. Raises McugradError with the apt line when it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise McugradError(f"{name} is not installed: run `sudo apt-get install {_PACKAGES[name]}`")
    return path


def find_compiler(board: Board, compiler: Compiler) -> str:
    """Path of the compiler for a board. Raises McugradError when it is missing or cannot build for the board."""
    if board.native:
        return find_tool(compiler)
    if compiler != "gcc":
        raise McugradError(f"{compiler} builds only for the host: use gcc for {board.name}")
    path = find_tool(f"{board.kind.tools}gcc")
    if "-lc" in board.kind.link and not _links_c_library(path):
        raise McugradError(
            "arm-none-eabi-gcc has no C library: run `sudo apt-get install libnewlib-arm-none-eabi`",
        )
    return path


def require_runnable(board: Board) -> None:
    """Raises McugradError for a real board."""
    if board.real:
        raise McugradError(
            f"{board.name} is a real board, which nothing here can run: "
            f"bring a firmware onto it with `mcugrad flash DIR --board {board.name}`"
        )


def require_tools(board: Board) -> None:
    """Raises McugradError unless everything that builds and runs a firmware for `board` is installed, so that a
    missing emulator is not found out after minutes of building, or the board is a real one."""
    require_runnable(board)
    find_compiler(board, "gcc")
    if not board.native:
        find_tool(f"{board.kind.tools}objdump")
        find_tool(board.kind.emulator)


@functools.cache
def _links_c_library(path: str) -> bool:
    answer = subprocess.run([path, "-print-file-name=libc.a"], capture_output=True, text=True, check=False)
    return Path(answer.stdout.strip()).is_absolute()


@functools.cache
def tool_version(path: str) -> str:
    """First line of `path --version`."""
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.partition("\n")[0]
