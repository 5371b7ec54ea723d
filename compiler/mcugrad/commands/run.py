"""`mcugrad run`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcugrad.errors import McugradError
from mcugrad.files import write_file
from mcugrad.simulate.state import in_onnx_order
from mcugrad.state_file import SUFFIX, saved_state, write_state

if TYPE_CHECKING:
    from mcugrad.simulate.board import Board
    from mcugrad.simulate.run import Progress
    from mcugrad.simulate.session import Records, Session, SessionResult

DIVERGED = 1  # exit code
PHASES = {"before": "evaluating before", "train": "training", "after": "evaluating", "predict": "evaluating"}


@dataclass(frozen=True)
class RunOptions:
    """What the command line says."""

    on: str
    train: Path | None
    test: Path | None
    epochs: int
    lr: float
    schedule: str
    seed: int
    save: Path | None
    cache_prefix: bool


def run_command(folder: Path, options: RunOptions) -> int:
    """Build, run the session, print accuracies, save the trained weights; the exit code. Raises McugradError."""
    from rich.console import Console

    from mcugrad.simulate.board import load_board
    from mcugrad.simulate.build import build, read_manifest
    from mcugrad.simulate.run import run_session
    from mcugrad.simulate.session import CACHE_PREFIX
    from mcugrad.simulate.toolchain import require_runnable, require_tools

    manifest = read_manifest(folder)
    board = load_board(options.on)
    require_runnable(board)
    train, test = _records(manifest, options)
    session = _session(manifest, options, train, test)
    target = _save_path(folder, options) if session.train is not None else None
    require_tools(board)
    firmware = build(folder, board, defines=(CACHE_PREFIX,) if session.cache_len else ())
    console = Console()
    with ProgressBars(console) as bars:
        result = run_session(firmware, session, on_progress=bars.update)
    for line in [*_summary(session, result, test), *_prefix_lines(manifest, board, session, result)]:
        console.print(line, highlight=False, soft_wrap=True)
    if target is not None:
        save_state(target, manifest, result.state)
        console.print(f"trained weights: {target}", highlight=False, soft_wrap=True)
    return DIVERGED if result.diverged_step else 0


class ProgressBars:
    """One rich progress bar a phase of the session."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._bars = Progress(*columns, TextColumn("{task.fields[loss]}"), console=console)
        self._tasks: dict[tuple[str, int], Any] = {}

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, progress: Progress) -> None:
        """Called for every progress line of the device."""
        key = (progress.phase, progress.epoch)
        if key not in self._tasks:
            name = PHASES.get(progress.phase, progress.phase)
            label = f"{name} (epoch {progress.epoch + 1})" if progress.phase == "train" else name
            self._tasks[key] = self._bars.add_task(label, total=progress.total, loss="")
        loss = f"loss {progress.loss:.4f}" if progress.phase == "train" else ""
        self._bars.update(self._tasks[key], completed=progress.done, loss=loss)


def _records(manifest: dict[str, Any], options: RunOptions) -> tuple[Records | None, Records | None]:
    """The train and test records that were asked for, after every check of the options against the model."""
    from mcugrad.samples import load_records

    if options.train is None and options.test is None:
        raise McugradError("nothing to do: give --train T.npz, --test E.npz or both")
    if options.train is not None and manifest["loss"] is None:
        raise McugradError(
            "the model was compiled without training: compile it with --train all, head, biases or a TOML"
        )
    if options.save is not None and options.train is None:
        raise McugradError("--save keeps what was learned, and nothing is trained: give --train T.npz, or leave it out")
    if options.cache_prefix and options.train is None:
        raise McugradError("--cache-prefix makes training faster, and nothing is trained: give --train T.npz")
    if options.cache_prefix and manifest["prefix"] is None:
        raise McugradError("--cache-prefix: the first layer trains, so there is no frozen prefix: leave it out")
    check_rate(options.lr)
    train = load_records(options.train, manifest) if options.train is not None else None
    test = load_records(options.test, manifest) if options.test is not None else None
    return train, test


def check_rate(rate: float) -> None:
    """Raises McugradError unless it is a learning rate."""
    if not 0.0 < rate < float("inf"):
        raise McugradError(f"--lr {rate}: give a positive number, such as 0.003")


def _session(manifest: dict[str, Any], options: RunOptions, train: Records | None, test: Records | None) -> Session:
    from mcugrad.simulate.session import Mode, Records, Schedule, Session

    outputs = int(np.prod(manifest["output"]["shape"]))
    if test is not None and test.target_len and manifest["loss"] is None:
        # A firmware without a loss knows no targets: it predicts, and the comparison happens here.
        return Session(Mode.PREDICT, outputs, test=Records(test.x, np.zeros(len(test), np.int64)))
    return Session(
        Mode.EVALUATE if train is None else Mode.TRAIN,
        outputs,
        train,
        test,
        epochs=options.epochs if train is not None else 0,
        learning_rate=options.lr,
        schedule=Schedule[options.schedule.upper()],
        seed=options.seed,
        cache_len=manifest["prefix"]["bytes"] if options.cache_prefix else 0,
    )


def _save_path(folder: Path, options: RunOptions) -> Path:
    """Where the weights go: never over a file that is there."""
    if options.save is not None:
        if options.save.exists():
            raise McugradError(f"{options.save} exists: give --save another file, trained weights are not overwritten")
        if not options.save.parent.resolve().is_dir():
            raise McugradError(f"{options.save.parent} does not exist: create it, or give --save another file")
        return options.save
    count = 1
    while (folder / f"trained-{count}.npz").exists():
        count += 1
    return folder / f"trained-{count}.npz"


def save_state(path: Path, manifest: Mapping[str, Any], state: bytes) -> None:
    """The trained state as a .state file, or as an .npz: every tensor by its name, whole, its channels in ONNX's order,
    and the raw bytes as `state`, of the compilation that `model_hash` tells."""
    if path.suffix == SUFFIX:
        write_state(path, saved_state(manifest, state))
        return
    model_hash = np.frombuffer(bytes.fromhex(manifest["model_hash"]), np.uint8)
    arrays = {"state": np.frombuffer(state, np.uint8), "model_hash": model_hash, **in_onnx_order(manifest, state)}
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_file(path, content.getvalue())


def _summary(session: Session, result: SessionResult, test: Records | None) -> list[str]:
    """What the session found, a line each."""
    trained = session.train is not None
    lines = []
    if trained and len(result.losses):
        lines.append(f"loss by epoch: {' '.join(f'{loss:.4f}' for loss in result.losses)}")
    if test is not None and test.target_len:
        before, after = _target_losses(result, test)
        lines.append(f"test loss: {before:.5f} -> {after:.5f}" if trained else f"test loss: {after:.5f}")
    elif test is not None:
        share, before = result.correct_after / len(test), result.correct_before / len(test)
        lines.append(f"accuracy: {before:.1%} -> {share:.1%}" if trained else f"accuracy: {share:.1%}")
    if trained:
        lines.append(
            f"saturated: {result.saturated_weights} weights, {result.clipped_errors} error elements in all steps"
        )
        if result.not_finite:
            lines.append(f"{result.not_finite} steps had a loss that was not finite and updated nothing: lower --lr")
        guessing = float(np.log(session.output_len))
        if not result.diverged_step and _labels(session) and len(result.losses) and result.losses[-1] >= guessing:
            lines.append(f"the loss is no better than guessing ({guessing:.4f}): train longer, or with another --lr")
        if session.train is not None and result.diverged_step:
            planned = session.epochs * len(session.train)
            lines.append(diverged_line(result.diverged_step, planned, result.restored_step))
    return lines


def diverged_line(step: int, planned: int, restored: int) -> str:
    """That a training diverged at `step`, and of which step the weights are now."""
    whose = f"of step {restored}, the last good ones" if restored else "before the training"
    return f"diverged at step {step} of {planned}: the weights are those {whose}; lower --lr"


def _labels(session: Session) -> bool:
    return session.train is not None and session.train.target_len == 0


def _prefix_lines(manifest: dict[str, Any], board: Board, session: Session, result: SessionResult) -> list[str]:
    """What the cache of the frozen prefix holds, and what it saves where instructions are counted."""
    if not session.cache_len or session.train is None:
        return []
    text = f"frozen prefix: {session.cache_len} bytes a sample cached"
    n, later = len(session.train), session.epochs - 1
    if board.timer is None or later == 0:
        share = manifest["prefix"]["macs"] / sum(manifest["macs"].values())
        return [f"{text}, {share:.0%} of a step's MACs, which epochs after the first skip"]
    first, others = board.instructions(result.first_ticks) / n, board.instructions(result.later_ticks) / (n * later)
    return [f"{text}; a training step: {first / 1e6:.2f} M instructions in the first epoch, {others / 1e6:.2f} M later"]


def _target_losses(result: SessionResult, test: Records) -> tuple[float, float]:
    """Mean squared error over the test records, before and after training."""
    if len(result.outputs):
        wanted = test.y.reshape(len(test), -1).astype(np.float64)
        return 0.0, float(((result.outputs.astype(np.float64) - wanted) ** 2).mean())
    return result.loss_before / len(test), result.loss_after / len(test)
