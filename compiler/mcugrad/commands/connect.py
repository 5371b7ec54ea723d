"""`mcugrad connect`: what its verbs check, ask of the device, and print."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcugrad.commands.run import DIVERGED, check_rate, diverged_line
from mcugrad.device import Device, DeviceError, DeviceResetError, Score, Step
from mcugrad.errors import McugradError
from mcugrad.files import write_file
from mcugrad.report.numbers import bytes_text
from mcugrad.simulate.loss_watch import BLOCK
from mcugrad.simulate.session import Records, Schedule, shuffle_order

_RECONNECT = 30.0  # seconds that a board may take to come back


@dataclass(frozen=True)
class TrainOptions:
    """What the command line says."""

    train: Path
    test: Path | None
    epochs: int
    lr: float
    schedule: str
    seed: int
    save: bool


def serve_command(folder: Path, on: str) -> None:
    """A firmware and its port, for ever."""
    from mcugrad.simulate.board import load_board
    from mcugrad.simulate.serial_firmware import RunningBoard, build_serial

    with RunningBoard(build_serial(folder, load_board(on))) as board:
        print(f"mcugrad connect {board.port} info", flush=True)
        board.wait()
        raise McugradError(f"the firmware on {on} ended: {board.stderr.strip() or 'without a word'}")


def info_command(device: Device) -> None:
    """A line a fact."""
    info = device.info
    target = f"{info.target_len} targets" if info.target_len else "a class label"
    rows = f", in rows of {info.row_len}" if info.row_len else ""
    lines = {
        "model": f"{info.model_name}, hash {info.model_hash.hex()}",
        "sample": f"{info.input_len} int8 values{rows}",
        "output": f"{info.output_len} float32 values; trained with {target}"
        if info.trains
        else f"{info.output_len} values",
        "state": f"{bytes_text(info.state_bytes)}, at step {info.step}" if info.trains else "none: it does not train",
        "started from": info.found.text,
        "half a state": "is written: push one, load, or reset" if info.half_written else "",
        "at once": f"{info.window} requests",
    }
    for name, text in lines.items():
        if text:
            print(f"{name:<13} {text}")


def predict_command(device: Device, data: Path, output: Path | None) -> None:
    """A line a sample, and the outputs as an .npz."""
    from mcugrad.frontend.data import load_samples

    assert device.manifest is not None
    if output is not None and output.exists():
        raise McugradError(f"{output} exists: give another file, nothing is overwritten")
    samples = load_samples(data, tuple(device.manifest["input"]["onnx_shape"][1:]), device.info.output_len)
    outputs = []
    for index in range(len(samples.x)):
        outputs.append(device.predict(samples.x[index : index + 1])[0])
        best = int(np.argmax(outputs[-1]))
        print(
            f"{index}: class {best}, {outputs[-1][best]:.4f}"
            if not device.info.target_len
            else f"{index}: {outputs[-1]}"
        )
    if output is not None:
        content = io.BytesIO()
        np.savez(content, outputs=np.array(outputs))
        write_file(output, content.getvalue())


def evaluate_command(device: Device, test: Path) -> None:
    """Accuracy, or the mean squared error."""
    records = _records(device, test)
    with _bars() as bars:
        score = _evaluate(device, records, bars, "evaluating")
    print(_judged(score, device))


def train_command(device: Device, options: TrainOptions) -> int:
    """Train as `mcugrad run` would; the exit code."""
    check_rate(options.lr)
    if options.save and not device.info.saves:
        raise McugradError(
            "--save: the device's firmware has no flash driver; leave it out, and pull the state into a file"
        )
    train = _records(device, options.train)
    test = _records(device, options.test) if options.test is not None else None
    with _bars() as bars:
        before = _evaluate(device, test, bars, "evaluating before") if test is not None else None
        training = _Training(device, options, train, test, bars)
        training.run()
        after = _evaluate(device, test, bars, "evaluating after") if test is not None else None
    for line in training.summary():
        print(line)
    if before is not None and after is not None:
        print(f"{_judged(before, device)} -> {_judged(after, device).partition(': ')[2]}")
    if not options.save:
        print("in SRAM only: `save` keeps it through a reset, `pull` fetches it")
    return DIVERGED if training.diverged else 0


class _Training:
    """A run over the line. Sample i of it is a function of i, so that it can go on at any step. The last good state is
    kept here: the device has room for one."""

    def __init__(
        self, device: Device, options: TrainOptions, records: Records, test: Records | None, bars: Any
    ) -> None:
        self.device, self.options, self.records, self.test, self.bars = device, options, records, test, bars
        self.total = options.epochs * len(records)
        self.losses: list[float] = []
        self.not_finite = self.restarts = 0
        self.diverged = 0

    def run(self) -> None:
        """To the planned end, or until it diverges. Raises DeviceError where a reset lost what cannot be had again."""
        o = self.options
        self.device.plan(Schedule[o.schedule.upper()], o.lr, self.total, o.seed)
        self.good = self.device.state()
        if o.save:  # so that a device that is reset knows the plan
            self.device.save()
        done = 0
        while done < self.total and not self.diverged:
            try:
                done = self._epoch(done)
            except DeviceResetError:
                done = self._resume()
        if self.diverged:
            self.device.set_state(self.good)
            if o.save:
                self.device.save()

    def _epoch(self, done: int) -> int:
        """From step `done` to the end of its epoch, or until it diverges; the steps that are done then."""
        n = len(self.records)
        epoch, first = divmod(done, n)
        order = shuffle_order(n, self.options.seed, epoch)[first:]
        task = self.bars.add_task(f"training (epoch {epoch + 1})", total=n, completed=first, note="")
        begin, sum_, count = time.monotonic(), 0.0, 0
        for step in self._steps(order, done):
            count, sum_ = count + 1, sum_ + step.loss
            self._note(step, done + count)
            rate = count / max(time.monotonic() - begin, 1e-9)
            self.bars.update(task, completed=first + count, note=f"loss {sum_ / count:.4f}  {rate:.1f} samples/s")
            if self.diverged:
                break
        self.losses.append(sum_ / count)
        if self.diverged:
            return done + count
        if self.options.save:
            self.device.save()
        if self.test is not None and done + count < self.total:
            _evaluate(self.device, self.test, self.bars, f"evaluating (epoch {epoch + 1})")
        return done + count

    def _steps(self, order: npt.NDArray[np.int64], done: int) -> Iterator[Step]:
        """A step for each sample of `order`, the first behind `done` others. Where a checkpoint can be due, nothing
        else is on its way."""
        at = 0
        while at < len(order):
            part = order[at : at + BLOCK - (done + at) % BLOCK]
            for step in self.device.train(self.records.x[part], self.records.y[part]):
                yield step
                if step.checkpoint_due:
                    self.good = self.device.state()
            at += len(part)

    def _note(self, step: Step, number: int) -> None:
        if step.diverged:
            self.diverged = number
        elif not step.updated:
            self.not_finite += 1

    def _resume(self) -> int:
        """Behind a reset: the step from which the device goes on."""
        reconnect(self.device)
        now, o = self.device.statistics(), self.options
        same = (now.total_steps, now.seed, now.schedule) == (self.total, o.seed, Schedule[o.schedule.upper()])
        if not same or now.learning_rate != np.float32(o.lr) or self.not_finite:
            raise DeviceError(
                f"the device was reset and started from {self.device.info.found.text}; this training is lost: run it "
                "again, with --save if its board has a flash driver"
            )
        self.restarts += 1
        self.bars.console.print(f"the device was reset: it goes on at step {now.step}, which it had saved")
        return now.step

    def summary(self) -> list[str]:
        """What to know of it, a line each."""
        now = self.device.statistics()
        lines = [f"loss by epoch: {' '.join(f'{loss:.4f}' for loss in self.losses)}"] if self.losses else []
        lines.append(f"saturated: {now.saturated_weights} weights, {now.clipped_errors} error elements in all steps")
        if self.device.resent:
            lines.append(f"{self.device.resent} frames were sent again")
        if self.not_finite:
            lines.append(f"{self.not_finite} steps had a loss that was not finite and updated nothing: lower --lr")
        if self.diverged:
            lines.append(diverged_line(self.diverged, self.total, self.good.step))
        return lines


def reconnect(device: Device) -> None:
    """Wait for a board that was reset. Raises DeviceError when it does not come back."""
    end = time.monotonic() + _RECONNECT
    while True:
        try:
            device.reconnect()
            return
        except McugradError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.2)


def pull_command(device: Device, folder: Path | None, target: Path) -> None:
    """What the device learned, as the kind of file that the name of `target` says."""
    from mcugrad.commands.pull import check_target, write_trained
    from mcugrad.state_file import SUFFIX, write_state

    check_target(target)
    if device.manifest is None and target.suffix != SUFFIX:
        raise McugradError(f"{target}: the device knows its bytes alone; say which model it runs with --model DIR")
    state = device.state()
    if folder is None or device.manifest is None:
        write_state(target, state)
    else:
        write_trained(folder, device.manifest, state, target)
    print(f"{target}: what model '{state.model_name}' had learned after {state.step} steps of its plan")


def push_command(device: Device, path: Path) -> None:
    """The state of a .state file."""
    from mcugrad.state_file import read_state

    state = read_state(path)
    device.set_state(state)
    print(f"the device is at step {state.step} of {path}; `save` keeps it through a reset")


def monitor_command(device: Device) -> None:
    """A line that changes, once a second, for ever."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), refresh_per_second=4) as live:
        before, then = device.statistics().step, time.monotonic()
        while True:
            try:
                now = device.statistics()
            except DeviceResetError:
                reconnect(device)
                continue
            rate = max(now.step - before, 0) / max(time.monotonic() - then, 1e-9)
            before, then = now.step, time.monotonic()
            planned = f" of {now.total_steps}" if now.total_steps else ""
            live.update(
                f"step {now.step}{planned}  loss {now.mean_loss:.4f}  rate {now.rate:.2g}  {rate:.1f} steps/s  "
                f"saturated {now.saturated_weights}  clipped {now.clipped_errors}  stack {now.stack} B  "
                f"lost frames {now.damaged_frames + now.long_frames}" + ("  DIVERGED" if now.diverged else "")
            )
            time.sleep(1.0)


def _records(device: Device, path: Path) -> Records:
    from mcugrad.samples import load_records

    assert device.manifest is not None
    return load_records(path, device.manifest)


def _evaluate(device: Device, records: Records, bars: Any, name: str) -> Score:
    task = bars.add_task(name, total=len(records), note="")

    def update(score: Score) -> None:
        note = f"loss {score.loss / score.scored:.4f}" if device.info.target_len else f"accuracy {score.accuracy:.1%}"
        bars.update(task, completed=score.scored, note=note)

    return device.evaluate(records.x, records.y, update)


def _judged(score: Score, device: Device) -> str:
    if device.info.target_len:
        return f"test loss: {score.loss / max(score.scored, 1):.5f}"
    return f"accuracy: {score.accuracy:.1%}"


@contextmanager
def _bars() -> Iterator[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TextColumn("{task.fields[note]}")) as bars:
        yield bars
