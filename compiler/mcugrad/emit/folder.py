"""Writing a compiled model's folder: all of it or nothing, and never over somebody else's files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from mcugrad.errors import McugradError


def check_folder(folder: Path) -> None:
    """Raises McugradError when `folder` holds anything that mcugrad did not write."""
    if folder.exists() and not folder.is_dir():
        raise McugradError(f"{folder} is a file: give -o the name of a folder")
    if folder.is_dir() and any(folder.iterdir()) and _generated(folder) is None:
        raise McugradError(
            f"{folder} holds files that mcugrad did not write (no manifest.json of ours): give -o another folder, or empty it"
        )
    if not folder.parent.resolve().is_dir():
        raise McugradError(f"{folder.parent} does not exist: create it, or give -o another folder")


def write_folder(folder: Path, files: dict[str, str]) -> None:
    """Replace the generated files of `folder`. What else lies there (builds, trained weights) stays.

    The new folder is complete before the old one goes, and an interrupt waits for the exchange.
    """
    check_folder(folder)
    folder = folder.resolve()
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, text in files.items():
            (fresh / name).write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        with _no_interrupt():
            _exchange(folder, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _exchange(folder: Path, fresh: Path) -> None:
    if folder.exists():
        generated = _generated(folder) or set()
        for entry in folder.iterdir():
            if entry.name not in generated:
                entry.rename(fresh / entry.name)
        shutil.rmtree(folder)
    os.replace(fresh, folder)


def _generated(folder: Path) -> set[str] | None:
    """Names of the files that mcugrad wrote there, None when the folder is not ours."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return {"manifest.json", *manifest["files"]} if manifest["generator"] == "mcugrad" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if held:
            raise KeyboardInterrupt
