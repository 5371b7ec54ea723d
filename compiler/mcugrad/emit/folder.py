"""Writing a compiled model's folder: all of it or nothing, and never over somebody else's files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.files import interrupts_wait

MANIFEST = "manifest.json"


def check_folder(folder: Path) -> None:
    """Raises McugradError when `folder` is no place to write to, or holds files but no manifest of ours."""
    if folder.exists() and not folder.is_dir():
        raise McugradError(f"{folder} is a file: give -o the name of a folder")
    if not folder.resolve().parent.is_dir():
        raise McugradError(f"{folder.parent} does not exist: create it, or give -o another folder")
    if folder.is_dir() and any(folder.iterdir()) and generated_files(folder) is None:
        raise McugradError(
            f"{folder} holds files that mcugrad did not write (no {MANIFEST} of ours): give -o another folder, or "
            "empty it"
        )


def write_folder(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Replace the generated files of `folder`; `files` includes the manifest. What else lies there (builds, trained
    weights, the user's own) stays as it is.

    Everything is on the disk before the first old file goes, and an interrupt waits for the exchange. Raises
    McugradError, with nothing changed, when the folder cannot be written or a file of the user's has a name we need.
    """
    check_folder(folder)
    with interrupts_wait():
        try:
            _write(folder.resolve(), files)
        except OSError as problem:
            raise McugradError(f"{folder} cannot be written ({problem.strerror}): give -o another folder") from problem


def _write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    there = folder.is_dir()
    old = (generated_files(folder) or set()) if there else set()
    taken = sorted(name for name in set(files) - old if (folder / name).exists())
    if taken:
        raise McugradError(
            f"{folder / taken[0]} is not mcugrad's, and that name is needed: move it away, or give -o another folder"
        )
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder if there else folder.parent))
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content.encode() if isinstance(content, str) else content)
        if there:
            _exchange(folder, fresh, files, old)
        else:
            fresh.chmod(0o755)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _exchange(folder: Path, fresh: Path, files: Mapping[str, str | bytes], old: set[str]) -> None:
    """The manifest goes last: until then the old one still names every file that may be ours."""
    for name in sorted(files, key=lambda n: (n == MANIFEST, n)):
        (fresh / name).replace(folder / name)
    for name in old - set(files):
        (folder / name).unlink(missing_ok=True)


def generated_files(folder: Path) -> set[str] | None:
    """Names of the files that mcugrad wrote there, None when the folder is not ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        names = {MANIFEST, *manifest["files"]} if manifest["generator"] == "mcugrad" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # A manifest may have been edited: a name that leads elsewhere is nobody's to remove.
    return None if names is None else {name for name in names if Path(name).name == name}
