"""What the demo measured, as plain data: means, the claims and whether they hold, the table's and the JSON's form.

Accuracies are shares of the wearer's held-out windows; gains and differences are in points (hundredths of a share).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mcugrad.report.numbers import bytes_text
from mcugrad.report.tables import DemoAccuracy, DemoMemory, DemoReport
from mcugrad.simulate.board import Board
from mcugrad.simulate.build import Firmware
from mcugrad.simulate.session import SessionResult
from models.watch.finetune_float import FloatResult

FLOAT_DISTANCE = 2.0  # points that the device's mean may be away from float32's
GAINING_SUBJECT, GAIN = 2, 20.0  # this wearer gains at least so many points


@dataclass(frozen=True)
class Wearer:
    """One wearer: `device` and `float32` hold a result a seed, `bench` is the JSON of `mcugrad bench`."""

    subject: int
    train_windows: int
    test_windows: int
    manifest: dict[str, Any]
    firmware: Firmware
    device: tuple[SessionResult, ...]
    float32: tuple[FloatResult, ...]
    bench: dict[str, Any]

    @property
    def before(self) -> float:
        return fmean(self.share(run.correct_before) for run in self.device)

    @property
    def after(self) -> float:
        return fmean(self.share(run.correct_after) for run in self.device)

    @property
    def float_before(self) -> float:
        return fmean(run.accuracy_before for run in self.float32)

    @property
    def float_after(self) -> float:
        return fmean(run.accuracy_after for run in self.float32)

    @property
    def stack(self) -> int:
        """Bytes of stack that any of the runs touched, painted and read back on the device."""
        return max(run.stack_high_water for run in self.device)

    def share(self, correct: int) -> float:
        return correct / self.test_windows


@dataclass(frozen=True)
class Claim:
    """A sentence with its figure, and whether it holds."""

    text: str
    holds: bool


def claims(wearers: Sequence[Wearer], board: Board) -> list[Claim]:
    """Everything that the demo promises, checked against what was measured."""
    found = [_near_float32(f"wearer {w.subject}", [w]) for w in wearers]
    if len(wearers) > 1:
        found.append(_near_float32("both wearers", wearers))
    found += [_gains(w) for w in wearers if w.subject == GAINING_SUBJECT]
    found += _memory_claims(wearers, board)
    return found


def _near_float32(who: str, wearers: Sequence[Wearer]) -> Claim:
    difference = points(fmean(w.after for w in wearers) - fmean(w.float_after for w in wearers))
    text = f"{who}: trained on the device within {FLOAT_DISTANCE:g} points of float32 ({difference:+.2f})"
    return Claim(text, abs(difference) <= FLOAT_DISTANCE)


def _gains(wearer: Wearer) -> Claim:
    gain = points(wearer.after - wearer.before)
    return Claim(f"wearer {wearer.subject}: at least {GAIN:g} points gained on the device ({gain:+.2f})", gain >= GAIN)


def _memory_claims(wearers: Sequence[Wearer], board: Board) -> list[Claim]:
    assert board.memory is not None
    ram, flash = board.memory.ram.size, board.memory.flash.size
    sizes = [w.firmware.sizes for w in wearers]
    predicted = [w.manifest["predicted"]["sram"]["static"] for w in wearers]
    exact = predicted == [s.static for s in sizes]
    bounded = all(w.stack <= w.firmware.stack_bound <= w.firmware.sizes.stack_reserve for w in wearers)
    fits = all(s.static + s.stack_reserve <= ram and s.flash <= flash for s in sizes)
    return [
        Claim("static SRAM is linked as predicted, to the byte", exact),
        Claim(f"the stack stayed within its bound: {_stack_text(wearers)}", bounded),
        Claim(f"everything fits in {bytes_text(ram)} of SRAM and {bytes_text(flash)} of flash", fits),
    ]


def _stack_text(wearers: Sequence[Wearer]) -> str:
    used, bound = max(w.stack for w in wearers), max(w.firmware.stack_bound for w in wearers)
    return f"{used:,} B touched, {bound:,} B computed, {wearers[0].firmware.sizes.stack_reserve:,} B reserved"


def points(share: float) -> float:
    """A difference of shares in points, free of the last bits that would make 2.0000000000000018 of 2."""
    return round(100 * share, 9)


def demo_report(wearers: Sequence[Wearer], board: Board, checked: Sequence[Claim], notes: Sequence[str]) -> DemoReport:
    """The table: a line a wearer and their mean; memory and speed are the larger of the wearers' figures."""
    lines = [DemoAccuracy(f"wearer {w.subject}", w.before, w.after, w.float_before, w.float_after) for w in wearers]
    if len(wearers) > 1:
        names: tuple[Callable[[Wearer], float], ...] = (
            *(lambda w: w.before, lambda w: w.after),
            *(lambda w: w.float_before, lambda w: w.float_after),
        )
        lines.append(DemoAccuracy("mean", *(fmean(map(name, wearers)) for name in names)))
    runs = len(wearers[0].device)
    title = f"Accuracy on held-out windows, on the {board.name}, mean of {runs} seed{'s' * (runs > 1)}"
    return DemoReport(
        title,
        lines,
        _memories(wearers, board),
        max(w.bench["forward_instructions"] for w in wearers),
        max(w.bench["step_instructions"] for w in wearers),
        board.timer.hz if board.timer else 0,
        notes,
        [(claim.text, claim.holds) for claim in checked],
    )


def _memories(wearers: Sequence[Wearer], board: Board) -> list[DemoMemory]:
    assert board.memory is not None
    rows = []
    for w in wearers:
        sizes, sram, flash = w.firmware.sizes, w.manifest["predicted"]["sram"], w.manifest["predicted"]["flash"]
        total = sizes.static + sizes.stack_reserve
        rows.append(
            (
                DemoMemory("SRAM", sram["total"], total, sizes.static + w.stack, board.memory.ram.size),
                DemoMemory("  static", sram["static"], sizes.static, None, None),
                DemoMemory("  stack", sram["stack"], w.firmware.stack_bound, w.stack, None),
                DemoMemory("flash", flash["total"], sizes.flash, None, board.memory.flash.size),
            )
        )
    return [max(column, key=lambda row: row.linked) for column in zip(*rows, strict=True)]


def as_json(wearers: Sequence[Wearer], checked: Sequence[Claim], facts: dict[str, Any]) -> dict[str, Any]:
    """Every figure, ready for json.dumps. `facts`: command, date, seeds and settings."""
    mean = {
        "before": fmean(w.before for w in wearers),
        "after": fmean(w.after for w in wearers),
        "float32_before": fmean(w.float_before for w in wearers),
        "float32_after": fmean(w.float_after for w in wearers),
    }
    return {
        **facts,
        "wearers": [_wearer_json(w, facts["seeds"]) for w in wearers],
        "mean": {**mean, "difference_points": points(mean["after"] - mean["float32_after"])},
        "claims": [{"text": claim.text, "holds": claim.holds} for claim in checked],
        "holds": all(claim.holds for claim in checked),
    }


def _wearer_json(w: Wearer, seeds: Sequence[int]) -> dict[str, Any]:
    predicted, sizes = w.manifest["predicted"], w.firmware.sizes
    return {
        "subject": w.subject,
        "train_windows": w.train_windows,
        "held_out_windows": w.test_windows,
        "device": {
            "before": w.before,
            "after": w.after,
            "gain_points": points(w.after - w.before),
            "runs": [_device_json(w, run, seed) for run, seed in zip(w.device, seeds, strict=True)],
        },
        "float32": {
            "before": w.float_before,
            "after": w.float_after,
            "gain_points": points(w.float_after - w.float_before),
            "runs": [
                {"seed": seed, "before": run.accuracy_before, "after": run.accuracy_after, "losses": run.losses}
                for run, seed in zip(w.float32, seeds, strict=True)
            ],
        },
        "difference_points": points(w.after - w.float_after),
        "sram": {
            "arena": w.manifest["arena_bytes"],
            "static": {"predicted": predicted["sram"]["static"], "linked": sizes.static},
            "stack": {"reserve": sizes.stack_reserve, "bound": w.firmware.stack_bound, "high_water": w.stack},
            "total": {"predicted": predicted["sram"]["total"], "linked": sizes.static + sizes.stack_reserve},
        },
        "flash": {"predicted": predicted["flash"]["total"], "linked": sizes.flash},
        "bench": w.bench,
    }


def _device_json(w: Wearer, run: SessionResult, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "before": w.share(run.correct_before),
        "after": w.share(run.correct_after),
        "correct_before": run.correct_before,
        "correct_after": run.correct_after,
        "steps": run.steps,
        "losses": [round(float(loss), 6) for loss in run.losses],
        "clipped_errors": run.clipped_errors,
        "saturated_weights": run.saturated_weights,
        "stack_high_water": run.stack_high_water,
    }
