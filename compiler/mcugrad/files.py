"""Writing files so that neither an error nor Ctrl-C leaves half of one."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect when the block has ended. For short blocks; other threads than the main one get
    no signals anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    previous = {number: signal.signal(number, lambda n, _frame: held.append(n)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def write_file(path: Path, content: bytes) -> None:
    """The whole file or none of it, over an earlier one. Raises OSError that names `path`; the folder must exist."""
    with interrupts_wait():
        try:
            _write_beside(path, content)
        except OSError as problem:
            problem.filename, problem.filename2 = str(path), None  # nobody knows the scratch file's name
            raise


def _write_beside(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        scratch.chmod(0o644)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
