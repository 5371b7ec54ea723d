"""`make demo`: a watch learns its wearer on an emulated microcontroller with 256 KB of SRAM.

    python -m models.watch.demo [--seeds 3] [--subject 2 --subject 10] [--epochs 10] [--output build/demo]

For each wearer whom the network has never seen: quantise and compile it for training, build the firmware, boot it in
QEMU, train on the device, judge it on held-out windows before and after; the same fine-tune in float32 beside it.
Exit code 0 when everything that the demo claims holds, 1 when it does not, 2 when something is missing or wrong.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from mcugrad.errors import McugradError
from mcugrad.report.numbers import bytes_text
from mcugrad.report.tables import demo_view
from mcugrad.simulate.board import Board, load_board
from mcugrad.simulate.build import Firmware, build, read_manifest
from mcugrad.simulate.run import Progress as DeviceProgress
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Schedule, Session, SessionResult
from models import watch
from models.watch import data
from models.watch.figures import Wearer, as_json, claims, demo_report
from models.watch.finetune_float import FloatResult, finetune, load_npz

ROOT = Path(__file__).resolve().parents[2]
BOARD = "mps2-an386"
PARALLEL = 2  # emulated boards at a time
_PATIENCE = 600.0  # seconds after which an emulated run counts as hung; it takes about ten

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True)
class Plan:
    """What this run of the demo does."""

    subjects: tuple[int, ...]
    seeds: tuple[int, ...]
    epochs: int
    output: Path

    @property
    def whole(self) -> bool:
        """Whether it is the run that the claims are about."""
        usual = self.epochs == watch.EPOCHS and len(self.seeds) >= len(watch.SEEDS)
        return usual and set(self.subjects) == set(data.UNSEEN_SUBJECTS)


@dataclass(frozen=True)
class Watch:
    """One wearer's watch before it is worn: its files, the compiled folder, the firmware."""

    subject: int
    files: dict[str, Path]
    folder: Path
    firmware: Firmware

    @property
    def model(self) -> Path:
        return _model_file(self.subject)


@app.command()
def main(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="runs a wearer, with seeds 0, 1, ...")] = len(
        watch.SEEDS
    ),
    subject: Annotated[
        list[int] | None, typer.Option("--subject", help="wearer, 2 or 10; may be given twice (default: both)")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="passes over the wearer's windows")] = watch.EPOCHS,
    output: Annotated[Path, typer.Option("--output", help="folder for everything that is written")] = Path(
        "build/demo"
    ),
) -> None:
    """A watch learns its wearer, on an emulated 256 KB microcontroller."""
    chosen = tuple(dict.fromkeys(subject or data.UNSEEN_SUBJECTS))
    if unknown := [s for s in chosen if s not in data.UNSEEN_SUBJECTS]:
        raise McugradError(f"the network has trained on subject {unknown[0]}: --subject is 2 or 10")
    try:
        holds = run(Plan(chosen, tuple(range(seeds)), epochs, output), Console())
    except KeyboardInterrupt:  # caught here because typer would end without a word
        print("demo: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(0 if holds else 1)


def run(plan: Plan, console: Console) -> bool:
    """The whole story; returns whether the claims hold. Raises McugradError, DataError."""
    begin = time.monotonic()
    board = load_board(BOARD)
    plan.output.mkdir(parents=True, exist_ok=True)
    watches = prepare(plan, board, console)
    device = train_on_device(plan, watches, board, console)
    float32 = train_in_float32(plan, watches, console)
    bench = measure(watches, board, console)
    wearers = [
        _wearer(one, runs, beside, counted)
        for one, runs, beside, counted in zip(watches, device, float32, bench, strict=True)
    ]
    return _conclude(plan, wearers, board, console, time.monotonic() - begin)


# ---- the steps -------------------------------------------------------------------------------------------------------


def prepare(plan: Plan, board: Board, console: Console) -> list[Watch]:
    """Data, quantised and compiled network, firmware of every wearer."""
    _say(
        console,
        "Reading smartwatch recordings: seven shoulder exercises, ten people, two of whom the network never saw.",
    )
    recordings = data.load_recordings()
    watches = []
    for subject in plan.subjects:
        files = data.wearer_npz(subject, plan.output, recordings)
        _say(
            console,
            f"Wearer {subject}: quantising the network of the other nine to int8 with 256 windows of theirs, "
            "and compiling it to C that trains every layer.",
        )
        folder = _compile(subject, files["calib"], plan.output)
        firmware = build(folder, board)
        sizes, manifest = firmware.sizes, read_manifest(folder)
        macs = sum(manifest["macs"].values())
        _say(
            console,
            f"Wearer {subject}: built the firmware with the Arm compiler: {len(manifest['calls'])} kernel calls and "
            f"{macs:,} MACs a training step, {bytes_text(sizes.static)} of SRAM and its stack, "
            f"{bytes_text(sizes.flash)} of flash.",
        )
        watches.append(Watch(subject, files, folder, firmware))
    return watches


def _compile(subject: int, calibration: Path, output: Path) -> Path:
    """Exactly `mcugrad compile MODEL -o DIR --board B --data CALIB --train all`, which its manifest names."""
    from mcugrad.pipeline import Options, compile_file

    source, folder = _model_file(subject), output / f"watch-unseen-{subject}"
    words = ["mcugrad", "compile", _shown(source), "-o", _shown(folder), "--board", BOARD]
    words += ["--data", _shown(calibration), "--train", watch.SCHEME]
    compile_file(source, folder, Options(BOARD, calibration, watch.SCHEME), words)
    return folder


def train_on_device(
    plan: Plan, watches: Sequence[Watch], board: Board, console: Console
) -> list[tuple[SessionResult, ...]]:
    """Boot the firmware once a wearer and seed and let it train; a result a seed for each watch."""
    assert board.memory is not None
    ram, flash = bytes_text(board.memory.ram.size), bytes_text(board.memory.flash.size)
    _say(
        console,
        f"Booting the firmware on an emulated Cortex-M4F with {ram} of SRAM and {flash} of flash, {PARALLEL} boards at "
        "a time. It judges held-out windows, trains on the wearer's first ones, judges again, all inside the core.",
    )
    with _bars(console) as bars, _pool() as (pool, stop):

        def start(one: Watch, seed: int) -> Future[SessionResult]:
            session = _session(plan, one, seed)
            bar = _DeviceBar(bars, f"wearer {one.subject}, seed {seed}", session, stop)
            return pool.submit(bar.run, one.firmware)

        futures = [[start(one, seed) for seed in plan.seeds] for one in watches]
        return [tuple(future.result() for future in runs) for runs in futures]


def _session(plan: Plan, one: Watch, seed: int) -> Session:
    from mcugrad.samples import load_records

    manifest = read_manifest(one.folder)
    train, test = (load_records(one.files[part], manifest) for part in ("train", "test"))
    return Session(
        Mode.TRAIN,
        len(data.EXERCISES),
        train,
        test,
        epochs=plan.epochs,
        learning_rate=watch.LEARNING_RATE,
        schedule=Schedule[watch.SCHEDULE.upper()],
        seed=seed,
    )


def train_in_float32(plan: Plan, watches: Sequence[Watch], console: Console) -> list[tuple[FloatResult, ...]]:
    """The same fine-tune on the host: same windows, order, epochs, rate and schedule."""
    _say(
        console,
        "The same fine-tune in float32 on this machine: same windows in the same order, same rate, same epochs.",
    )
    results = []
    with _bars(console) as bars:
        for one in watches:
            task = bars.add_task(f"wearer {one.subject}, float32", total=len(plan.seeds), note="")
            runs = []
            for seed in plan.seeds:
                runs.append(_float32(plan, one, seed))
                after = fmean(run.accuracy_after for run in runs)
                bars.update(task, advance=1, note=f"{runs[0].accuracy_before:.1%} -> {after:.1%}, mean so far")
            results.append(tuple(runs))
    return results


def _float32(plan: Plan, one: Watch, seed: int) -> FloatResult:
    train, test = load_npz(one.files["train"]), load_npz(one.files["test"])
    return finetune(one.model, train, test, plan.epochs, watch.LEARNING_RATE, watch.SCHEDULE, seed, watch.SCHEME)


def measure(watches: Sequence[Watch], board: Board, console: Console) -> list[dict[str, Any]]:
    """What `mcugrad bench` measures, of every watch."""
    from mcugrad.commands import bench

    _say(console, "Counting the instructions of an inference and of a training step, as `mcugrad bench` does.")
    with _pool() as (pool, _):
        return list(pool.map(lambda one: bench.measure(one.folder, board), watches))


def _wearer(
    one: Watch, device: tuple[SessionResult, ...], float32: tuple[FloatResult, ...], bench: dict[str, Any]
) -> Wearer:
    train, test = (len(load_npz(one.files[part])[1]) for part in ("train", "test"))
    return Wearer(one.subject, train, test, read_manifest(one.folder), one.firmware, device, float32, bench)


def _conclude(plan: Plan, wearers: Sequence[Wearer], board: Board, console: Console, seconds: float) -> bool:
    """Write picture and JSON, print the table; returns whether every claim holds."""
    from mcugrad.report.arena_manifest import draw_manifest

    assert board.memory is not None
    for suffix in ("svg", "png"):
        draw_manifest(plan.output / f"arena.{suffix}", wearers[0].manifest, _title(wearers[0]), board.memory.ram.size)
    checked = claims(wearers, board)
    figures = as_json(wearers, checked, _facts(plan, seconds))
    (plan.output / "results.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    console.print(demo_view(demo_report(wearers, board, checked, _notes(plan, seconds))))
    holds = bool(figures["holds"])
    verdict = "Everything claimed holds." if holds else "NOT everything claimed holds: see the lines marked ✗."
    console.print(Text(verdict, style="bold green" if holds else "bold red"))
    return holds


# ---- small things ----------------------------------------------------------------------------------------------------


def _notes(plan: Plan, seconds: float) -> list[str]:
    picture, figures = (_shown(plan.output / name) for name in ("arena.svg", "results.json"))
    notes = [f"Arena over time: {picture} and .png. All figures: {figures}. {seconds:.0f} s in all."]
    if not plan.whole:
        notes.append(
            f"A short run: the claims are about {len(watch.SEEDS)} seeds, {watch.EPOCHS} epochs and both wearers."
        )
    return notes


def _title(wearer: Wearer) -> str:
    return f"A watch learns wearer {wearer.subject}: the arena over one training step"


def _facts(plan: Plan, seconds: float) -> dict[str, Any]:
    packages = ("mcugrad", "apache-tvm", "numpy", "onnx", "onnxruntime")
    return {
        "command": _command(plan),
        "date": date.today().isoformat(),
        "seconds": round(seconds, 1),
        "subjects": list(plan.subjects),
        "seeds": list(plan.seeds),
        "epochs": plan.epochs,
        "learning_rate": watch.LEARNING_RATE,
        "schedule": watch.SCHEDULE,
        "scheme": watch.SCHEME,
        "board": BOARD,
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in packages}},
    }


def _command(plan: Plan) -> str:
    wearers = [word for subject in plan.subjects for word in ("--subject", str(subject))]
    counts = ["--seeds", str(len(plan.seeds)), "--epochs", str(plan.epochs)]
    return shlex.join(["python", "-m", "models.watch.demo", *counts, *wearers, "--output", _shown(plan.output)])


def _model_file(subject: int) -> Path:
    return Path(watch.__file__).parent / f"watch-unseen-{subject}.onnx"


def _shown(path: Path) -> str:
    """The path as one types it in the clone's root, so that it is the same in every clone."""
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def _say(console: Console, sentence: str) -> None:
    console.print(Text("▸ ", style="bold cyan") + Text(sentence))


def _bars(console: Console) -> Progress:
    columns = TextColumn("  {task.description:<18}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=console)


@contextmanager
def _pool() -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """A pool that an error or Ctrl-C leaves at once: what waits is dropped, what runs sees the event."""
    stop = threading.Event()
    with ThreadPoolExecutor(min(PARALLEL, os.cpu_count() or 1)) as pool:
        try:
            yield pool, stop
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _DeviceBar:
    """One run on a board, and its bar: all phases on one scale, counted in windows."""

    def __init__(self, bars: Progress, name: str, session: Session, stop: threading.Event) -> None:
        assert session.train is not None
        assert session.test is not None
        self._bars, self._session, self._stop = bars, session, stop
        self._train, self._test = len(session.train), len(session.test)
        total = 2 * self._test + session.epochs * self._train
        self._task: TaskID = bars.add_task(name, total=total, note="waiting for a board", start=False)

    def run(self, firmware: Firmware) -> SessionResult:
        """Called on a thread of the pool. Raises McugradError as `run_session` does, and when `stop` is set."""
        self._bars.start_task(self._task)
        self._bars.update(self._task, note="booting")
        result = run_session(firmware, self._session, on_progress=self._follow, timeout=_PATIENCE)
        before, after = (correct / self._test for correct in (result.correct_before, result.correct_after))
        self._bars.update(self._task, note=f"{before:.1%} -> {after:.1%}")
        return result

    def _follow(self, at: DeviceProgress) -> None:
        if self._stop.is_set():
            raise McugradError("the demo was stopped")  # ends the emulator too
        starts = {"before": 0, "train": self._test, "after": self._test + self._session.epochs * self._train}
        note = {"before": "judging", "after": "judging again"}.get(at.phase)
        done = starts[at.phase] + at.epoch * self._train + at.done
        self._bars.update(self._task, completed=done, note=note or f"epoch {at.epoch + 1}, loss {at.loss:.3f}")


def entry() -> None:
    """An error is one sentence and exit code 2."""
    try:
        app()
    except (McugradError, data.DataError) as problem:
        print(f"demo: error: {problem}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    entry()
