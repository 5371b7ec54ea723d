"""`mcugrad compile`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mcugrad.pipeline import Options, Written, compile_file
from mcugrad.report.tables import CompileReport, Usage


def compile_command(
    source: Path, folder: Path, options: Options, command: Sequence[str], report: Path | None = None
) -> None:
    """Compile, write the HTML `report` if one is asked for, and print what the model needs of the board."""
    from rich.console import Console

    from mcugrad.report.tables import compile_view

    written = compile_file(source, folder, options, command, report)
    summary = compile_report(written, folder, options)
    if report is not None:
        summary = replace(summary, facts=[*summary.facts, ("report", str(report))])
    Console().print(compile_view(summary))


def compile_report(written: Written, folder: Path, options: Options) -> CompileReport:
    """The summary of a compilation."""
    from mcugrad.simulate.board import load_board

    program, budget, board = written.compiled.program, written.budget, load_board(options.board)
    usages = []
    if board.memory is not None:
        parts = (("arena", budget.arena), ("state", budget.static - budget.arena), ("stack reserve", budget.stack))
        usages.append(Usage("SRAM", budget.sram, board.memory.ram.size, parts))
        flash = (("constants", budget.constants), ("code (estimate)", budget.code))
        usages.append(Usage("flash", budget.flash, board.memory.flash.size, flash))
    trained = written.compiled.selection
    facts = [("trains", f"{len(trained.names)} parameter tensors ({options.train})" if trained.names else "nothing")]
    if trained.names:
        facts.append(("errors", f"{trained.errors}, {len(program.ratios)} delayed scales"))
    if program.rests:
        kept = sum(program.buffers[name].nbytes for name in program.rests)
        when = f"of {program.accumulate} samples" if program.accumulate > 1 else "8-bit residual"
        facts.append(("updates", f"{when}, {kept} bytes of state"))
    for sram, more in written.frontier:
        facts.append((f"{sram:,} B of SRAM", f"+{more / 1e6:.2f} M instructions a pass (estimate)"))
    return CompileReport(
        written.compiled.model.name,
        board.name,
        str(folder),
        usages,
        program.arena_bytes,
        program.arena_lower_bound,
        sum(c.phase == "forward" for c in program.calls),
        sum(c.phase == "backward" for c in program.calls),
        facts,
    )
