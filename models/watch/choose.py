"""Compare fine-tuning settings on stand-in wearers, so that the unseen subjects do not choose them.

    python -m models.watch.train --validate --output DIR && python -m models.watch.choose DIR [--device]

`--device` trains the compiled int8 model instead of the float32 one, as a program of this machine: the same C and the
same bits as on the board, in a tenth of the time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from models.watch import data
from models.watch.finetune_float import Dataset, Schedule, finetune

SETTINGS: tuple[tuple[str, int, Schedule, float], ...] = (
    *(("all", epochs, "cosine", rate) for epochs in (5, 10) for rate in (0.001, 0.002, 0.003, 0.005, 0.01)),
    *(("all", 10, schedule, rate) for schedule in ("linear", "constant") for rate in (0.002, 0.005)),
    *(("biases", 10, "cosine", rate) for rate in (0.005, 0.01, 0.02)),
    *(("head", 10, "cosine", rate) for rate in (0.005, 0.02, 0.05)),
)
DEVICE_SETTINGS: tuple[tuple[str, int, Schedule, float], ...] = tuple(
    ("all", 10, "cosine", rate) for rate in (0.001, 0.002, 0.003, 0.005, 0.01)
)
SEEDS = (0, 1)
Wearer = tuple[Dataset, Dataset]  # to train on, held out
Trial = Callable[[str, int, Schedule, float, int], tuple[float, float]]  # setting, seed -> accuracy before and after


def float_trial(model: Path, wearer: Wearer) -> Trial:
    """Fine-tune in float32."""

    def trial(scheme: str, epochs: int, schedule: Schedule, rate: float, seed: int) -> tuple[float, float]:
        result = finetune(model, *wearer, epochs, rate, schedule, seed, scheme)
        return result.accuracy_before, result.accuracy_after

    return trial


def device_trial(model: Path, wearer: Wearer, calibration: data.Floats, scratch: Path) -> Trial:
    """Fine-tune with the compiled model (scheme `all`), built for this machine in `scratch`."""
    from mcugrad.pipeline import Options, compile_file
    from mcugrad.samples import quantize_samples
    from mcugrad.simulate.board import load_board
    from mcugrad.simulate.build import build, read_manifest
    from mcugrad.simulate.run import run_session
    from mcugrad.simulate.session import Mode, Records, Session
    from mcugrad.simulate.session import Schedule as DeviceSchedule

    folder, samples = scratch / model.stem, scratch / f"{model.stem}.npz"
    np.savez(samples, x=calibration)
    compile_file(model, folder, Options("mps2-an386", samples, "all"), ["models.watch.choose"])
    firmware, manifest = build(folder, load_board("host"), optimize="-O3"), read_manifest(folder)
    train, test = (Records(quantize_samples(x, manifest), np.asarray(y)) for x, y in wearer)

    def trial(scheme: str, epochs: int, schedule: Schedule, rate: float, seed: int) -> tuple[float, float]:
        assert scheme == "all"
        kind = DeviceSchedule[schedule.upper()]
        session = Session(Mode.TRAIN, len(data.EXERCISES), train, test, epochs, rate, kind, seed)
        result = run_session(firmware, session)
        return result.correct_before / len(test), result.correct_after / len(test)

    return trial


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="held-out accuracy of each setting over stand-in wearers and two seeds"
    )
    parser.add_argument("folder", type=Path, help="what `train --validate --output` wrote")
    parser.add_argument("--device", action="store_true", help="train the compiled int8 model, not the float32 one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        trials = _trials(options.folder, Path(scratch), options.device)
        for setting in DEVICE_SETTINGS if options.device else SETTINGS:
            results = np.array([trial(*setting, seed) for trial in trials for seed in SEEDS])
            before, after = results.T
            scheme, epochs, schedule, rate = setting
            print(
                f"{scheme:6} {epochs:2} epochs {schedule:8} {rate:5}: {before.mean():.4f} -> {after.mean():.4f}, "
                f"worst run {after.min():.3f}",
                flush=True,
            )


def _trials(models: Path, scratch: Path, device: bool) -> list[Trial]:
    recordings = data.load_recordings()
    trials = []
    for subject in data.VALIDATION_SUBJECTS:
        model = models / f"watch-unseen-{subject}.onnx"
        wearer = data.wearer_windows(recordings, subject, exclude=data.UNSEEN_SUBJECTS)
        if device:
            x, _ = data.others_windows(recordings, subject, data.WINDOW, exclude=data.UNSEEN_SUBJECTS)
            chosen = np.sort(np.random.default_rng(0).choice(len(x), 256, replace=False))
            trials.append(device_trial(model, wearer, x[chosen], scratch))
        else:
            trials.append(float_trial(model, wearer))
    return trials


if __name__ == "__main__":
    main()
