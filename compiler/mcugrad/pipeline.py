"""The road a graph takes, one function a stage: what `mcugrad compile` does, and what tests drive directly."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mcugrad.errors import McugradError
from mcugrad.resources import runtime_dir
from mcugrad.scheme import Scheme, Selection, load_scheme, resolve

if TYPE_CHECKING:
    import onnx

    from mcugrad.emit.project import Project
    from mcugrad.graph import Model
    from mcugrad.passes.quantize_errors import TrainingStep
    from mcugrad.plan.budget import Budget
    from mcugrad.program import Program
    from mcugrad.simulate.board import Board

Loss = Literal["cross_entropy", "mse"]
Input = Literal["resident", "pushed"]
Optimize = Literal["ram", "speed"]
HeadType = Literal["float32", "int8", "stored"]  # stored: as the graph has it
# <name>_t must not be a type of C, nor <name>.c or <name>.h a file of the runtime
_C_TYPES = re.compile(
    r"u?int(_least|_fast)?(8|16|32|64|max|ptr)|size|ptrdiff|wchar|wint|max_align|time|off|ssize|mg(_.*)?"
)


@dataclass(frozen=True)
class Compiled:
    """A planned model. `step` is the Relax function that the emitted training step equals; None for inference only."""

    model: Model
    selection: Selection
    step: TrainingStep | None
    program: Program


@dataclass(frozen=True)
class Options:
    """What the command line says. `data` calibrates a float model; `classes` replaces the classifier; `input`: whether
    the sample lies in the arena or is pushed row by row; `ram`, `flash`: bytes, less than the board's; `optimize`: as
    little SRAM as possible, or as few instructions as fit into it."""

    board: str
    data: Path | None = None
    train: str = "none"
    classes: int | None = None
    loss: Loss = "cross_entropy"
    input: Input = "resident"
    ram: int | None = None
    flash: int | None = None
    optimize: Optimize = "ram"


@dataclass(frozen=True)
class Written:
    """What `compile_file` made. `frontier`: (SRAM, instructions of a pass above the fewest) of what the planner can
    choose from, where the options trade one for the other."""

    compiled: Compiled
    budget: Budget
    frontier: tuple[tuple[int, int], ...] = ()


def compile_file(
    source: Path, folder: Path, options: Options, command: Sequence[str], report: Path | None = None
) -> Written:
    """ONNX file in, folder of C out; nothing is written unless everything succeeds. Raises McugradError.

    `command` goes into the manifest. `report` is an HTML file to write too.
    """
    from mcugrad import frontend
    from mcugrad.emit.folder import check_folder, write_folder
    from mcugrad.emit.manifest import manifest
    from mcugrad.report.html import check_report, write_report
    from mcugrad.simulate.board import load_board

    board = load_board(options.board)
    check_folder(folder)
    if report is not None:
        check_report(report, folder)
    scheme = load_scheme(options.train)
    trains = scheme != "none"
    name = model_name(source)
    graph = quantised_graph(frontend.load_model(source), name, options)
    imported = import_quantised(graph, name, options, head=head_type(scheme, options.loss))
    compiled, project, budget = _fit(imported, scheme, options, board, source.name)
    facts = {
        "board": board.name,
        "core": board.core,
        "assembly": board.runs_assembly,
        "command": list(command),
        "source": source.name,
        "train": options.train,
        "trained": list(compiled.selection.names),
        "errors": compiled.selection.errors if trains else None,
        "rounding": compiled.selection.rounding if trains else None,
        "accumulate": compiled.selection.accumulate if trains else None,
        "loss": options.loss if trains else None,
        "classes": options.classes,
        "model_hash": project.model_hash.hex() or None,
    }
    # What trains is written back into the graph: mcugrad pull.
    files = project.files | ({f"{compiled.model.name}.onnx": graph.SerializeToString()} if trains else {})
    text = manifest(compiled.model, compiled.selection, compiled.program, project.layout, budget, files, facts)
    html = _html(text, compiled, board) if report is not None else ""
    write_folder(folder, {**files, "manifest.json": text})
    if report is not None:
        write_report(report, html)
    return Written(compiled, budget, _frontier(compiled, budget) if _trades(options) else ())


def _fit(
    model: Model, scheme: str | Scheme, options: Options, board: Board, source: str
) -> tuple[Compiled, Project, Budget]:
    """Plan and emit within the budget; for speed once more, with what SRAM the smallest plan leaves."""
    from mcugrad.emit.project import emit_project
    from mcugrad.plan.budget import Limits, check, predict

    trains, pushed = scheme != "none", options.input == "pushed"
    title = f"train {options.train}, loss {options.loss}" if trains else "inference only"

    def attempt(arena: int) -> tuple[Compiled, Project, Budget]:
        compiled = compile_model(model, scheme, options.loss, pushed=pushed, arena=arena)
        project = emit_project(compiled.model, compiled.program, source=source, summary=f"Board {board.name}, {title}.")
        sizes = project.layout.struct_bytes, project.constant_bytes
        return compiled, project, predict(compiled.program, board, *sizes, project.files)

    compiled, project, budget = attempt(0)
    limits = Limits.of(board, options.ram, options.flash)
    check(compiled.program, board, budget, limits)
    if options.optimize == "speed" and limits.ram is not None:
        faster = attempt(limits.ram - (budget.sram - compiled.program.arena_bytes))
        if limits.hold(faster[2]):
            return faster
    return compiled, project, budget


def _trades(options: Options) -> bool:
    return options.optimize == "speed" or options.ram is not None


def _frontier(compiled: Compiled, budget: Budget) -> tuple[tuple[int, int], ...]:
    from mcugrad.plan import sram_and_speed

    rest = budget.sram - compiled.program.arena_bytes
    return tuple((rest + arena, more) for arena, more in sram_and_speed(compiled.model, compiled.step))


def _html(manifest: str, compiled: Compiled, board: Board) -> str:
    from mcugrad.report.facts import parameter_facts
    from mcugrad.report.html import Report, render

    memory = None if board.memory is None else (board.memory.ram.size, board.memory.flash.size)
    facts = parameter_facts(compiled.model, compiled.selection)
    return render(Report(json.loads(manifest), facts, memory))


def import_file(source: Path, options: Options, *, head: HeadType) -> Model:
    """The typed Relax model of an ONNX file: read, normalised, quantised if it is float."""
    from mcugrad import frontend

    graph = frontend.load_model(source)
    return import_graph(graph, model_name(source), options, head=head)


def import_graph(graph: onnx.ModelProto, name: str, options: Options, *, head: HeadType) -> Model:
    """As `import_file`, from a loaded graph."""
    return import_quantised(quantised_graph(graph, name, options), name, options, head=head)


def quantised_graph(graph: onnx.ModelProto, name: str, options: Options) -> onnx.ModelProto:
    """The canonical QDQ graph that is compiled: normalised, quantised if it is float, with its final classes."""
    from mcugrad import frontend

    if frontend.is_quantized(graph):
        graph = frontend.prepare(graph)
    else:
        if options.data is None:
            raise McugradError(
                f"{name} is a float model: give calibration data with --data CALIB.npz, or run `mcugrad quantize` first"
            )
        samples = frontend.load_npz(options.data, frontend.prepare(graph), labels=False)
        graph = frontend.quantize(graph, samples.x)
    if options.classes is not None:
        graph = frontend.replace_classifier(graph, options.classes)
    return graph


def import_quantised(graph: onnx.ModelProto, name: str, options: Options, *, head: HeadType) -> Model:
    """The typed Relax model of a `quantised_graph`."""
    from mcugrad.frontend.importer import import_model

    float_head = head == "float32" or (head == "stored" and options.classes is not None)
    return import_model(graph, name, float_head=float_head, int8_head=head == "int8")


def model_name(source: Path) -> str:
    """A C identifier from the file's name, lower case: watch-unseen-2.onnx is watch_unseen_2."""
    name = re.sub(r"\W+", "_", source.name.removesuffix(".onnx"), flags=re.ASCII).strip("_").lower() or "model"
    files = {path.stem for folder in ("include", "src") for path in (runtime_dir() / folder).iterdir()}
    taken = name in files or _C_TYPES.fullmatch(name) is not None
    return f"m_{name}" if taken or name[0].isdigit() else name


def head_type(scheme: str | Scheme, loss: str) -> HeadType:
    """The type of the last layer: float32 where a classifier trains, as in the graph where it does not train.

    Regression outputs can be as large as the input (an autoencoder's), so they are int8 unless the scheme says
    otherwise.
    """
    head = scheme.head if isinstance(scheme, Scheme) else scheme != "none"
    if isinstance(head, str):
        return head
    if not head:
        return "stored"
    return "float32" if loss == "cross_entropy" else "int8"


def compile_model(
    model: Model,
    scheme: str | Scheme,
    loss: str = "cross_entropy",
    *,
    stream: bool = True,
    pushed: bool = False,
    arena: int = 0,
) -> Compiled:
    """Differentiate, prune, quantise the errors and plan. Raises McugradError for a scheme that does not fit.

    The result's model is `model` with its channels in another order where the scheme lists some.
    """
    from mcugrad.passes.permute_channels import permute_channels
    from mcugrad.plan import plan

    model, selection = permute_channels(model, resolve(scheme, model))
    step = training_step(model, selection, loss) if selection.names else None
    return Compiled(model, selection, step, plan(model, step, stream=stream, pushed=pushed, arena=arena))


def training_step(model: Model, selection: Selection, loss: str = "cross_entropy") -> TrainingStep:
    """The Relax training step of `selection`."""
    from mcugrad.passes.autodiff import differentiate
    from mcugrad.passes.loss import add_loss
    from mcugrad.passes.quantize_errors import quantize_errors
    from mcugrad.passes.sparse_update import sparse_update

    pruned = sparse_update(differentiate(add_loss(model, loss)), model, selection.names)
    return quantize_errors(pruned, model, selection)
