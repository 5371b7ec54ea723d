"""Compare fine-tuning settings on stand-in wearers, so that the unseen subjects do not choose them.

python -m models.watch.train --validate --output DIR && python -m models.watch.choose DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.watch import data
from models.watch.finetune_float import Schedule, finetune

SETTINGS: tuple[tuple[str, int, Schedule, float], ...] = (
    *(("all", epochs, "cosine", rate) for epochs in (5, 10) for rate in (0.001, 0.002, 0.003, 0.005, 0.01)),
    *(("all", 10, schedule, rate) for schedule in ("linear", "constant") for rate in (0.002, 0.005)),
    *(("biases", 10, "cosine", rate) for rate in (0.005, 0.01, 0.02)),
    *(("head", 10, "cosine", rate) for rate in (0.005, 0.02, 0.05)),
)
SEEDS = (0, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="held-out accuracy of each setting over stand-in wearers and two seeds"
    )
    parser.add_argument("folder", type=Path, help="what `train --validate --output` wrote")
    folder = parser.parse_args(arguments).folder
    recordings = data.load_recordings()
    wearers = {
        subject: data.wearer_windows(recordings, subject, exclude=data.UNSEEN_SUBJECTS)
        for subject in data.VALIDATION_SUBJECTS
    }
    for scheme, epochs, schedule, rate in SETTINGS:
        results = [
            finetune(folder / f"watch-unseen-{subject}.onnx", *parts, epochs, rate, schedule, seed, scheme)
            for subject, parts in wearers.items()
            for seed in SEEDS
        ]
        before, after = (np.array([getattr(r, f"accuracy_{when}") for r in results]) for when in ("before", "after"))
        print(
            f"{scheme:6} {epochs:2} epochs {schedule:8} {rate:5}: {before.mean():.4f} -> {after.mean():.4f}, "
            f"worst run {after.min():.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
