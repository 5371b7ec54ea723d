"""The flash of an emulated board as a file: what a firmware saves there outlives QEMU, however it ends."""

from __future__ import annotations

from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.simulate.board import Board, Storage

ENVIRONMENT = "MCUGRAD_STORAGE"  # where the host's driver, storage_file.c, finds its file


def require_storage(board: Board) -> Storage:
    """The board's flash for saved states. Raises McugradError when it has no driver for one."""
    if board.storage is None:
        raise McugradError(
            f"{board.name} has no flash driver, so nothing can be saved on it: add [storage] and a driver to its "
            "board.toml, or take another board"
        )
    return board.storage


def open_storage(board: Board, path: Path) -> None:
    """Makes an erased flash of `path` unless it is one. Raises McugradError when the file is something else."""
    storage = require_storage(board)
    size = storage.backend_bytes or storage.bytes
    try:
        if not path.exists():
            _erased(path, storage, size)
        found = path.stat().st_size
    except OSError as problem:
        raise McugradError(f"{path} cannot be made the flash of {board.name} ({problem.strerror})") from problem
    if found != size:
        raise McugradError(f"{path} has {found} bytes and the flash of {board.name} {size}: give another file")


def _erased(path: Path, storage: Storage, size: int) -> None:
    """The rest of the memory that it lies in takes no place on the disk."""
    with path.open("xb") as file:
        file.seek(storage.backend_offset)
        file.write(b"\xff" * storage.bytes)
        file.truncate(size)


def qemu_storage(board: Board, path: Path) -> list[str]:
    """QEMU's arguments to keep the board's flash in a file, which is made if it is not there. Raises McugradError."""
    open_storage(board, path)
    storage = require_storage(board)
    name = str(path.resolve()).replace(",", ",,")
    backend = f"memory-backend-file,id={storage.backend},size={storage.backend_bytes},mem-path={name},share=on"
    return ["-object", backend, "-machine", f"memory-backend={storage.backend}"]
