"""Bringing an image onto a board with a tool that its board.toml names: chosen, spelt out, run, not waited for long."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.flash.images import Images
from mcugrad.simulate.board import Board, Flasher

TIMEOUT = 180  # seconds: a megabyte over a slow probe takes one minute
_DRIVES = ("/media/*/{}", "/run/media/*/{}", "/media/{}", "/mnt/{}", "/Volumes/{}")


@dataclass(frozen=True)
class Plan:
    """One command. `missing`: why it cannot run now, "" if it can."""

    command: tuple[str, ...]
    missing: str

    def __str__(self) -> str:
        return shlex.join(self.command)


def plan(board: Board, images: Images, port: str | None) -> Plan:
    """The command of the first way in board.toml whose tool is here, or else of the first way.

    What a command still lacks, a port or a drive, stands in it by its name.
    """
    ways = [_spell(way, board, images, port) for way in board.flash]
    return next((way for way in ways if not way.missing), ways[0])


def _spell(way: Flasher, board: Board, images: Images, port: str | None) -> Plan:
    words = {"elf": images.elf, "bin": images.bin, "hex": images.hex, "uf2": images.uf2}
    wanted = "".join(way.arguments)
    missing, found_port, drive = "", port, None
    if "{port}" in wanted and port is None:
        found_port = _only_port()
        missing = (
            missing if found_port else f"no single serial port of a board was found: give --port, for {board.name}"
        )
    if "{volume}" in wanted and board.uf2 is not None:
        drive = _drive(board.uf2.volume)
        missing = missing if drive else f"no drive {board.uf2.volume} is here: {way.install}"
    tool = "cp" if way.tool == "copy" else way.tool
    if not _installed(tool):
        missing = f"{tool}, which flashes {board.name}, is not installed: {way.install}"
    volume = drive or (board.uf2.volume if board.uf2 else "")
    values = {**words, "address": f"{images.address:#x}", "port": found_port or "PORT", "volume": volume}
    return Plan((tool, *(argument.format(**values) for argument in way.arguments)), missing)


def _installed(tool: str) -> bool:
    return shutil.which(tool) is not None


def _only_port() -> str | None:
    """The serial port of the only USB device that has one."""
    ports = sorted(p for pattern in ("ttyACM*", "cu.usbmodem*") for p in Path("/dev").glob(pattern))
    return str(ports[0]) if len(ports) == 1 else None


def _drive(name: str) -> Path | None:
    """Where a drive of that name is mounted."""
    found = (p for pattern in _DRIVES for p in sorted(Path("/").glob(pattern.format(name).lstrip("/"))))
    return next((p for p in found if p.is_dir()), None)


def execute(way: Plan, board: Board, timeout: float = TIMEOUT) -> str:
    """Run it; what it said last. Raises McugradError when it cannot run, fails, or takes over `timeout` seconds."""
    if way.missing:
        raise McugradError(way.missing)
    tool = way.command[0]
    try:
        answer = subprocess.run(
            way.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise McugradError(
            f"{tool} did not end within {timeout:g} s and was stopped: is {board.name} connected and switched on?"
        ) from problem
    lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode:
        said = next((line for line in lines if "rror" in line or "o available" in line), lines[-1] if lines else "")
        raise McugradError(
            f"{tool} could not flash {board.name} ({said or f'exit code {answer.returncode}'}): "
            "is it connected, switched on, and may you use its probe?"
        )
    return lines[-1] if lines else ""
