"""`mcugrad export`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.files import interrupts_wait


def export_command(folder: Path, layout: str, output: Path) -> None:
    """Write the library to `output`, a new folder; all of it or nothing. Raises McugradError."""
    from mcugrad.export.layouts import library

    files = library(folder, layout)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise McugradError(f"{output} is there already: give -o a new folder, nothing is overwritten")
    parent = output.resolve().parent
    if not parent.is_dir():
        raise McugradError(f"{output.parent} does not exist: create it, or give -o another folder")
    with interrupts_wait():
        try:
            _write(output.resolve(), files)
        except OSError as problem:
            raise McugradError(f"{output} cannot be written ({problem.strerror}): give -o another folder") from problem
    print(f"{output}: {len(files)} files, a library for {layout}")


def _write(output: Path, files: Mapping[str, str]) -> None:
    there = output.is_dir()  # and empty; it may be somebody's current folder, so it stays the same one
    fresh = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output if there else output.parent))
    try:
        for name, text in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_text(text, encoding="utf-8", newline="\n")
        if there:
            for entry in sorted(fresh.iterdir()):
                entry.rename(output / entry.name)
        else:
            fresh.chmod(0o755)
            fresh.rename(output)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
