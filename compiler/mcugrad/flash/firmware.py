"""The firmware that a board has by itself (targets/common/board_main.c)."""

from __future__ import annotations

from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.resources import targets_dir
from mcugrad.simulate.board import Board
from mcugrad.simulate.build import Firmware, build_program, model_defines


def build_board(folder: Path, board: Board, *, objects: Path | None = None) -> Firmware:
    """Build it for the compiled model in `folder`, in folder/build/<board>-alone/.

    Raises McugradError as `simulate.build.build` does, and for a board without a serial line.
    """
    if board.native or board.uart is None:
        raise McugradError(f"{board.name} has no serial line of its own: choose a board that has one")
    return build_program(
        [*sorted(folder.glob("*.c")), *sorted(folder.glob("*.S")), targets_dir() / "common" / "board_main.c"],
        board,
        includes=(folder,),
        defines=model_defines(folder),
        build_dir=folder / "build" / f"{board.name}-alone",
        objects=objects,
    )
