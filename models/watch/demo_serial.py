"""`make demo-serial`: the watch on the other end of a serial line: it learns, is switched off, and still knows.

    python -m models.watch.demo_serial [--epochs 2] [--output build/demo-serial]

The firmware runs on an emulated Cortex-M4F whose UART is a socket; everything that happens to it goes over that line,
by the class that notebooks use. Exit code 0 when all that is claimed holds, 1 when something does not.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mcugrad.device import Device, Score
from mcugrad.device.protocol import Found
from mcugrad.errors import McugradError
from mcugrad.pipeline import Options, compile_file
from mcugrad.samples import load_records
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.serial_firmware import RunningBoard, build_serial
from mcugrad.simulate.session import Mode, Schedule, Session, shuffle_order
from models import watch
from models.watch import data

BOARD, SUBJECT, SEED = "mps2-an386", 2, 0
BETTER = 0.1  # what two epochs gain at least; they gain 0.24


class Story:
    """The demo's steps, each of which says what it did; `claims` are what has to hold in the end."""

    def __init__(self, output: Path, epochs: int, console: Console) -> None:
        self.epochs, self.console = epochs, console
        self.claims: list[tuple[bool, str]] = []
        output.mkdir(parents=True, exist_ok=True)
        files = data.wearer_npz(SUBJECT, output, data.load_recordings())
        self.folder = output / f"watch-unseen-{SUBJECT}"
        source = Path(watch.__file__).parent / f"watch-unseen-{SUBJECT}.onnx"
        compile_file(source, self.folder, Options(BOARD, files["calib"], watch.SCHEME), ["mcugrad", "compile"])
        manifest = read_manifest(self.folder)
        self.outputs = int(manifest["output"]["shape"][-1])
        self.train, self.test = (load_records(files[name], manifest) for name in ("train", "test"))

    def tell(self) -> bool:
        """All of it; whether every claim holds."""
        firmware = build_serial(self.folder, load_board(BOARD))
        self._say(f"{firmware.sizes.static} B of SRAM, {firmware.sizes.flash} B of flash; booting it in QEMU.")
        with RunningBoard(firmware) as board, Device(board.port, self.folder) as device:
            self._say(f"Connected over {board.port.partition(':')[0]}: it started from {device.info.found.text}.")
            before = self._judge(device, "before")
            self._learn(device)
            after, state = self._judge(device, "after"), device.state()
            self._claim(state.state == self._on_this_machine(), "the device's state is this machine's, bit for bit")
            gain = after.accuracy - before.accuracy
            self._claim(gain > BETTER, f"it learned its wearer: {before.accuracy:.1%} -> {after.accuracy:.1%}")
            step = device.save()
            self._say(f"Saved at step {step}. Switching it off, and on again.")
            board.reset()
            device.reconnect()
            self._claim(device.info.found == Found.LOADED, "it started from what it had saved")
            self._claim(device.state() == state, "not one bit of it was lost")
            self._claim(self._judge(device, "again") == after, f"and it still gets {after.correct} windows right")
        for holds, text in self.claims:
            self.console.print(("[green]✓[/] " if holds else "[red]✗ NOT TRUE:[/] ") + text, highlight=False)
        return all(holds for holds, _ in self.claims)

    def _say(self, text: str) -> None:
        self.console.print(f"[bold cyan]▸[/] {text}", highlight=False)

    def _claim(self, holds: bool, text: str) -> None:
        self.claims.append((holds, text))

    def _judge(self, device: Device, when: str) -> Score:
        with self._bars() as bars:
            task = bars.add_task(f"judging, {when}", total=len(self.test), note="")

            def show(score: Score) -> None:
                bars.update(task, completed=score.scored, note=f"accuracy {score.accuracy:.1%}")

            return device.evaluate(self.test.x, self.test.y, show)

    def _learn(self, device: Device) -> None:
        n, begin = len(self.train), time.monotonic()
        device.plan(Schedule.COSINE, watch.LEARNING_RATE, self.epochs * n, SEED)
        with self._bars() as bars:
            task = bars.add_task("learning", total=self.epochs * n, note="")
            for epoch in range(self.epochs):
                order = shuffle_order(n, SEED, epoch)
                for step in device.train(self.train.x[order], self.train.y[order]):
                    rate = step.step / (time.monotonic() - begin)
                    bars.update(task, completed=step.step, note=f"loss {step.loss:.4f}  {rate:.0f} samples/s")

    def _on_this_machine(self) -> bytes:
        """The state after the same training without a line and without an emulator."""
        session = Session(
            Mode.TRAIN,
            self.outputs,
            self.train,
            epochs=self.epochs,
            learning_rate=watch.LEARNING_RATE,
            schedule=Schedule.COSINE,
            seed=SEED,
        )
        return run_session(build(self.folder, load_board("host")), session).state

    def _bars(self) -> Any:
        columns = TextColumn("  {task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        return Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console)


def main(
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="passes over the wearer's windows")] = 2,
    output: Annotated[Path, typer.Option("--output", help="folder for what is written")] = Path("build/demo-serial"),
) -> None:
    """A watch learns over a serial line, is switched off, and still knows."""
    try:
        holds = Story(output, epochs, Console()).tell()
    except (McugradError, data.DataError) as problem:
        print(f"demo: error: {problem}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(0 if holds else 1)


if __name__ == "__main__":
    typer.run(main)
