"""`mcugrad flash`."""

from __future__ import annotations

from pathlib import Path

from mcugrad.errors import McugradError


def flash_command(folder: Path, board_name: str, port: str | None, dry_run: bool) -> None:
    """Build the firmware that listens to the board's serial line, and bring it there, or print the command that would.
    Raises McugradError."""
    from mcugrad.flash.images import make_images
    from mcugrad.flash.tools import execute, plan
    from mcugrad.simulate.board import load_board
    from mcugrad.simulate.build import read_manifest
    from mcugrad.simulate.serial_firmware import build_serial

    board = load_board(board_name)
    if not board.real:
        raise McugradError(f"{board.name} is no board to flash: use `mcugrad run DIR --on {board.name}`")
    read_manifest(folder)
    firmware = build_serial(folder, board)
    images = make_images(firmware)
    way = plan(board, images, port)
    if dry_run:
        print(way)
        return
    execute(way, board)
    sizes = firmware.sizes
    print(f"flashed {board.name} with {way.command[0]}: {sizes.flash:,} B of flash, {sizes.static:,} B of static SRAM")
    print("it listens on its serial line: see `mcugrad connect -h`")
