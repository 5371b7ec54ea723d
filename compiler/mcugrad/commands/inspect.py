"""`mcugrad inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcugrad.report.tables import InspectLayer, InspectReport, Usage

if TYPE_CHECKING:
    from mcugrad.frontend.summary import Summary


def inspect_command(source: Path, board_name: str) -> int:
    """Print the model's layers and the verdict; returns 2 when the model cannot be compiled for the board, else 0."""
    from rich.console import Console

    from mcugrad.report.tables import inspect_view

    report = inspect_report(source, board_name)
    Console().print(inspect_view(report))
    return 0 if report.fits else 2


def inspect_report(source: Path, board_name: str) -> InspectReport:
    """Layers of the model against a board. int8 weights and the largest input + output pair are lower bounds."""
    from mcugrad import frontend
    from mcugrad.simulate.board import load_board

    board = load_board(board_name)
    summary = frontend.summarize(frontend.load_for_inspection(source))
    layers = [
        InspectLayer(x.name, x.op, (x.shape or ())[1:], x.params, x.macs, x.activation_bytes, x.problem or "")
        for x in summary.layers
    ]
    pair = summary.largest_pair
    activations = pair.input_bytes + pair.output_bytes if pair is not None else 0
    usages = []
    fits = not summary.problems
    if board.memory is not None:
        ram, flash = board.memory.ram.size, board.memory.flash.size
        where = f"largest layer ({pair.layer})" if pair is not None else "activations"
        usages = [
            Usage(
                "SRAM", activations + board.stack_reserve, ram, ((where, activations), ("stack", board.stack_reserve))
            ),
            Usage("flash", summary.params, flash, (("int8 weights", summary.params),)),
        ]
        fits = fits and all(u.used <= u.budget for u in usages)
    return InspectReport(source.name, board.name, layers, usages, _verdict(summary, usages, board.name), fits)


def _verdict(summary: Summary, usages: list[Usage], board: str) -> str:
    refused = sum(layer.problem is not None for layer in summary.layers)
    if refused:  # the view says of each why
        return f"Not supported: {refused} of {len(summary.layers)} layers"
    if summary.problems:
        return f"Not supported: {summary.problems[0]}"
    over = [u for u in usages if u.used > u.budget]
    if over:
        return f"Does not fit {board}: needs at least {over[0].used} bytes of {over[0].name}, it has {over[0].budget}"
    return f"Supported, and inference fits {board}; `mcugrad compile --train` tells what training needs"
