"""`mcugrad bench`: executed instructions of a prediction and of a training step, SRAM and flash, by layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcugrad.errors import McugradError
from mcugrad.files import write_file
from mcugrad.report.tables import BenchLayer, BenchReport, Usage

if TYPE_CHECKING:
    from mcugrad.simulate.board import Board
    from mcugrad.simulate.build import Firmware
    from mcugrad.simulate.session import SessionResult

WARM_UP, TIMED, SAMPLES = 3, 4, 4  # the first steps run error kernels twice to calibrate their scales


def bench_command(folder: Path, board_name: str, target: Path | None) -> None:
    """Measure, print, and write the JSON to `target`. Raises McugradError."""
    from rich.console import Console

    from mcugrad.report.tables import bench_view
    from mcugrad.simulate.board import load_board
    from mcugrad.simulate.build import read_manifest
    from mcugrad.simulate.toolchain import require_tools

    read_manifest(folder)
    board = load_board(board_name)
    if board.native:
        raise McugradError(f"{board_name} counts no instructions: bench on an emulated board, such as mps2-an386")
    if target is not None and target.is_dir():
        raise McugradError(f"{target} is a folder: give --json a file")
    if target is not None and not target.parent.resolve().is_dir():
        raise McugradError(f"{target.parent} does not exist: create it, or give --json another file")
    if target is not None and target.exists() and not _is_ours(target):
        raise McugradError(f"{target} exists and holds no figures of `mcugrad bench`: give --json another file")
    require_tools(board)
    figures = measure(folder, board)
    if target is not None:
        write_file(target, (json.dumps(figures, indent=1) + "\n").encode())
    Console().print(bench_view(report(figures, board)))


def _is_ours(path: Path) -> bool:
    try:
        return "forward_instructions" in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def measure(folder: Path, board: Board) -> dict[str, Any]:
    """What `mcugrad bench --json` writes, all integers. Samples are random: instructions hardly depend on them."""
    from mcugrad.simulate.build import build, read_manifest

    manifest = read_manifest(folder)
    profiled = _run(build(folder, board, defines=("MCUGRAD_PROFILE",)), manifest)
    return {**totals(folder, board), "layers": _layers(profiled, manifest, board)}


def totals(folder: Path, board: Board) -> dict[str, Any]:
    """The same without `layers`, from one firmware instead of two."""
    from mcugrad.simulate.build import build, read_manifest

    manifest = read_manifest(folder)
    firmware = build(folder, board)
    result, sizes = _run(firmware, manifest), firmware.sizes
    sram = {"arena": manifest["arena_bytes"], "static": sizes.static, "stack": result.stack_high_water}
    flash = {"code": sizes.code, "const": sizes.const, "data": sizes.data, "total": sizes.flash}
    return {
        "model": manifest["name"],
        "board": board.name,
        "forward_instructions": board.instructions(result.predict_ticks) // result.timed,
        "step_instructions": board.instructions(result.step_ticks) // result.timed,
        "macs": manifest["macs"],
        "sram": {**sram, "total": sizes.static + result.stack_high_water},
        "flash": flash,
    }


def _run(firmware: Firmware, manifest: dict[str, Any]) -> SessionResult:
    from mcugrad.simulate.run import run_session
    from mcugrad.simulate.session import Mode, Records, Session

    random = np.random.default_rng(0)
    shape, outputs = manifest["input"]["shape"], int(np.prod(manifest["output"]["shape"]))
    x = random.integers(-128, 128, (SAMPLES, *shape[1:])).astype(np.int8)
    labels = random.integers(0, outputs, SAMPLES)
    targets = random.standard_normal((SAMPLES, outputs)).astype(np.float32)
    records = Records(x, targets if manifest["loss"] == "mse" else labels)
    session = Session(Mode.BENCH, outputs, train=records, test=records, learning_rate=1e-4, steps=TIMED, warmup=WARM_UP)
    return run_session(firmware, session)


def _layers(result: SessionResult, manifest: dict[str, Any], board: Board) -> list[dict[str, Any]]:
    """Instructions of one training step (of one prediction without training) by layer, in order of first call."""
    kind = "step" if manifest["loss"] is not None else "predict"
    passes = [p for p in result.profile if p.kind == kind]
    rows: dict[str, dict[str, Any]] = {}
    for index, ticks in passes[-1].calls:
        call = manifest["calls"][index]
        row = rows.setdefault(call["layer"], {"name": call["layer"], "op": call["op"], "instructions": 0, "macs": 0})
        row["instructions"] += board.instructions(ticks)
        row["macs"] += call["macs"]
    return list(rows.values())


def report(figures: dict[str, Any], board: Board) -> BenchReport:
    """The figures as the table wants them."""
    assert board.memory is not None
    sram, flash, macs = figures["sram"], figures["flash"], figures["macs"]
    usages = (
        Usage("SRAM", sram["total"], board.memory.ram.size, (("static", sram["static"]), ("stack", sram["stack"]))),
        Usage("flash", flash["total"], board.memory.flash.size, (("code", flash["code"]), ("const", flash["const"]))),
    )
    layers = [BenchLayer(r["name"], r["op"], r["instructions"], r["macs"]) for r in figures["layers"]]
    forward, step = figures["forward_instructions"], figures["step_instructions"]
    work = (macs["forward"], macs["dgrad"], macs["wgrad"])
    return BenchReport(figures["model"], figures["board"], forward, step, work, usages, layers)
