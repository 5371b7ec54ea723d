"""The firmware that listens to a serial line (targets/common/serial_main.c): built for a board, run here or in QEMU."""

from __future__ import annotations

import os
import pty
import subprocess
import tempfile
import time
import tty
from pathlib import Path
from types import TracebackType

from mcugrad.errors import McugradError
from mcugrad.resources import targets_dir
from mcugrad.simulate.board import Board
from mcugrad.simulate.build import Firmware, build_program, model_defines
from mcugrad.simulate.run import qemu_command
from mcugrad.simulate.toolchain import Compiler


def build_serial(
    folder: Path,
    board: Board,
    *,
    compiler: Compiler = "gcc",
    optimize: str = "-O2",
    sanitize: bool = False,
    build_dir: Path | None = None,
    objects: Path | None = None,
) -> Firmware:
    """The firmware of the compiled model in `folder` with its serial line (default place: folder/build/serial-<board>).

    Raises McugradError as `build` does, and for a board without a serial line.
    """
    if board.uart is None and not board.native:
        raise McugradError(f"{board.name} has no serial line: its board.toml needs a [uart] and a driver")
    common = targets_dir() / "common"
    own = [common / "io_posix.c"] if board.native else sorted(folder.glob("*.S"))
    return build_program(
        [*sorted(folder.glob("*.c")), common / "serial_main.c", *own],
        board,
        includes=(folder,),
        compiler=compiler,
        optimize=optimize,
        sanitize=sanitize,
        defines=model_defines(folder),
        build_dir=build_dir or folder / "build" / f"serial-{board.name}",
        objects=objects,
    )


class RunningBoard:
    """A firmware that runs until the context ends; `port` is what `Device` and `mcugrad connect` take.

    On this machine the port is a PTY, under QEMU a Unix socket. `reset` is the board's reset button: what is in its
    flash, the file `storage` once something was saved, stays.
    """

    def __init__(self, firmware: Firmware) -> None:
        self._firmware = firmware
        self._scratch = tempfile.TemporaryDirectory(prefix="mcugrad-")
        self._errors = Path(self._scratch.name) / "stderr"
        self.storage = Path(self._scratch.name) / "storage.bin"
        self._master = self._slave = -1
        if firmware.board.native:
            self._master, self._slave = pty.openpty()
            tty.setraw(self._slave)
            self.port = os.ttyname(self._slave)
        else:
            self.port = f"unix:{self._scratch.name}/uart"
        self._child = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        board, elf = self._firmware.board, str(self._firmware.elf.resolve())
        serial = f"unix:{self._scratch.name}/uart,server=on,wait=off"
        storage = self.storage if board.storage else None
        command = [elf] if board.native else [*qemu_command(board, serial, storage), "-kernel", elf]
        line = self._master if board.native else subprocess.DEVNULL
        with self._errors.open("wb") as errors:
            child = subprocess.Popen(
                command, stdin=line, stdout=line, stderr=errors, cwd=self._scratch.name, start_new_session=True
            )
        while not board.native and child.poll() is None and not (Path(self._scratch.name) / "uart").exists():
            time.sleep(0.01)
        return child

    def reset(self) -> None:
        """Power off and on: SRAM is lost."""
        self._stop()
        (Path(self._scratch.name) / "uart").unlink(missing_ok=True)
        self._child = self._start()

    def wait(self) -> None:
        """Until the firmware ends by itself, which it does when it faults."""
        self._child.wait()

    @property
    def stderr(self) -> str:
        """What the firmware, or QEMU, said apart from the line: a fault, for one."""
        return self._errors.read_text(errors="replace")

    def _stop(self) -> None:
        self._child.kill()
        self._child.wait()

    def __enter__(self) -> RunningBoard:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stop()
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)
        self._scratch.cleanup()
