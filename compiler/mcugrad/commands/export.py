"""`mcugrad export`."""

from __future__ import annotations

import shutil
import tempfile
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
        fresh = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=parent))
        try:
            for name, text in files.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_text(text, encoding="utf-8", newline="\n")
            fresh.chmod(0o755)
            fresh.replace(output)  # an empty folder may be there
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    print(f"{output}: {len(files)} files, a library for {layout}")
