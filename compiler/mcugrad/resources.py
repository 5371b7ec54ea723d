"""Where the C runtime and the board folders are, in a checkout and in an installed wheel.

A wheel carries both inside the package (`mcugrad/_data/`, see `[tool.hatch.build]` in pyproject.toml); a checkout keeps
them at its root, two folders above the package.
"""

from pathlib import Path

from mcugrad.errors import McugradError

_PACKAGE = Path(__file__).resolve().parent


def _find(name: str) -> Path:
    packaged = _PACKAGE / "_data" / name
    if packaged.is_dir():
        return packaged
    root = _PACKAGE.parents[1]
    # site-packages has neighbours too: only a folder beside our own pyproject.toml is a checkout.
    if (root / "pyproject.toml").is_file() and (root / name).is_dir():
        return root / name
    raise McugradError(f"mcugrad's own folder {name}/ is missing from {_PACKAGE}: install mcugrad again")


def runtime_dir() -> Path:
    """Folder of the C runtime (`include/`, `src/`, `NUMERICS.md`). Raises McugradError if it is missing."""
    return _find("runtime_c")


def targets_dir() -> Path:
    """Folder that holds one folder a board. Raises McugradError if it is missing."""
    return _find("targets")
