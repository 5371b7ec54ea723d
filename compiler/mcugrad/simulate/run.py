"""Executes a firmware, on this machine or in QEMU, and reads its result.

Every emulated run uses -icount: virtual time advances by executed instructions alone, so the timer counts the same on
any machine and in any run.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.simulate.board import Board
from mcugrad.simulate.build import Firmware
from mcugrad.simulate.elf import read_elf
from mcugrad.simulate.session import Session, SessionResult, parse_result
from mcugrad.simulate.storage import ENVIRONMENT, open_storage, qemu_storage
from mcugrad.simulate.toolchain import find_tool

_PROGRESS = re.compile(r"@mcugrad (before|train|after|steps|bench|predict) (\d+) (\d+) (\d+) ([0-9a-f]{8})$")
_SUCCESS = re.compile(r"@mcugrad ok (\d+)$")
_FAULT = re.compile(r"@mcugrad fault address=([0-9a-f]{8})(?: pc=([0-9a-f]{8}))?.* reason=(.*)$", re.MULTILINE)
_REFUSAL = re.compile(r"@mcugrad error (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Progress:
    """`phase`: before, train, after, steps, bench or predict. `epoch` counts from 0; `done` of `total` records; `loss`:
    train: the epoch's mean so far, steps: of this step, before/after: the sum so far (targets only)."""

    phase: str
    epoch: int
    done: int
    total: int
    loss: float


@dataclass(frozen=True)
class Output:
    """What a program left: its exit code and everything it wrote to stdout and stderr."""

    exit_code: int
    stdout: str
    stderr: str


def run_session(
    firmware: Firmware,
    session: Session,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    timeout: float | None = None,
) -> SessionResult:
    """Run a session to its end. `on_progress` is called for every progress line; `timeout` is in seconds.

    Raises McugradError when the firmware faults (with address and reason), refuses the session, ends without its
    success line, runs over the timeout, or QEMU is missing.
    """
    data = session.to_bytes()
    report = on_progress or (lambda progress: None)

    def on_line(line: str) -> None:
        if found := _PROGRESS.match(line):
            (loss,) = struct.unpack(">f", bytes.fromhex(found[5]))
            report(Progress(found[1], int(found[2]), int(found[3]), int(found[4]), loss))

    with tempfile.TemporaryDirectory(prefix="mcugrad-") as scratch:
        folder = Path(scratch)
        (folder / "session.bin").write_bytes(data)
        if session.cache_len:  # at its length, so that records can be written in any order
            with (folder / "cache.bin").open("wb") as cache:
                cache.truncate(session.cache_bytes)
        output = run_program(firmware, folder, on_line=on_line, timeout=timeout)
        result = folder / "result.bin"
        answer = result.read_bytes() if result.is_file() else b""
    check_output(firmware, output)
    if int(_success(output) or 0) != len(answer):
        raise McugradError(f"the firmware on {firmware.board.name} lost part of its result: is the disk full?")
    return parse_result(answer, session.output_len)


def run_program(
    firmware: Firmware,
    folder: Path,
    *,
    on_line: Callable[[str], None] | None = None,
    timeout: float | None = None,
    storage: Path | None = None,
) -> Output:
    """Execute a firmware with `folder` as its current folder; `on_line` sees each line of stdout as it comes. `storage`
    is the file of its flash, made if it is not there.

    However this ends, also by Ctrl-C, the child has ended too. Raises McugradError after `timeout` seconds.
    """
    child = subprocess.Popen(
        _command(firmware, storage),
        cwd=folder,
        env=os.environ if storage is None else {**os.environ, ENVIRONMENT: str(storage.resolve())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # the terminal's Ctrl-C reaches us alone, and we end the child
    )
    expired = threading.Event()
    errors: list[str] = []
    assert child.stdout is not None
    assert child.stderr is not None
    drain = threading.Thread(target=lambda stream: errors.append(stream.read()), args=(child.stderr,), daemon=True)

    def expire() -> None:
        expired.set()
        child.kill()

    clock = threading.Timer(timeout, expire) if timeout else None
    lines: list[str] = []
    try:
        drain.start()
        if clock:
            clock.start()
        for line in child.stdout:
            lines.append(line)
            if on_line:
                on_line(line.rstrip("\n"))
        child.wait()
    finally:
        if clock:
            clock.cancel()
        if child.poll() is None:
            child.kill()
            child.wait()
        drain.join()
        child.stdout.close()
        child.stderr.close()
    if expired.is_set():
        raise McugradError(f"the firmware on {firmware.board.name} did not end within {timeout:g} s: it was stopped")
    return Output(child.returncode, "".join(lines), "".join(errors))


def check_output(firmware: Firmware, output: Output) -> None:
    """Raise McugradError unless the program ended well: exit code 0 and the success line as its last."""
    board = firmware.board.name
    if fault := _FAULT.search(output.stderr):
        place = read_elf(firmware.elf).function_at(int(fault[2], 16)) if fault[2] else None
        where = f" in {place}()" if place else ""
        raise McugradError(f"the firmware faulted on {board} at address 0x{fault[1]}{where}: {fault[3]}")
    if refusal := _REFUSAL.search(output.stderr):
        raise McugradError(f"the firmware on {board} stopped: {refusal[1]}")
    last = next((line for line in reversed(output.stderr.splitlines()) if line.strip()), "")
    if output.exit_code != 0:
        raise McugradError(
            f"the firmware on {board} ended with {_exit(output.exit_code)}: {_cause(output.stderr) or last}"
        )
    if _success(output) is None:
        raise McugradError(f"the firmware on {board} ended without its success line: its result does not count")


def _success(output: Output) -> str | None:
    lines = output.stdout.splitlines()
    found = _SUCCESS.match(lines[-1]) if lines else None
    return found[1] if found else None


def _exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _cause(stderr: str) -> str | None:
    """The line of a sanitizer's or QEMU's report that says what happened."""
    marks = ("runtime error:", "ERROR: AddressSanitizer", "qemu: fatal", "qemu-system")
    return next((line.strip() for line in stderr.splitlines() if any(mark in line for mark in marks)), None)


def _command(firmware: Firmware, storage: Path | None) -> Sequence[str]:
    board = firmware.board
    elf = str(firmware.elf.resolve())
    if not board.native:
        return [*qemu_command(board, storage=storage), "-kernel", elf]
    if storage is not None:
        open_storage(board, storage)
    return [elf]


def qemu_command(board: Board, serial: str = "null", storage: Path | None = None) -> list[str]:
    """QEMU with a board's machine and exact virtual time; the image is still to be added. `serial`: where its UART
    leads, in QEMU's words (stdio, pty, a socket). `storage`: the file of its flash for saved states; without one they
    last as long as QEMU. Raises McugradError."""
    return [
        *(find_tool(board.kind.emulator), "-M", str(board.run.machine), "-display", "none", "-monitor", "none"),
        *("-serial", serial, "-parallel", "none", "-icount", f"shift={board.run.icount_shift},sleep=off"),
        *("-semihosting-config", "enable=on,target=native", *board.kind.emulator_flags),
        *(qemu_storage(board, storage) if storage is not None else ()),
    ]
