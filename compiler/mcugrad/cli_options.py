"""Options that a training takes wherever it runs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Schedule(str, Enum):
    """Learning-rate schedules."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"


Baud = Annotated[int, typer.Option("--baud", metavar="N", min=1, help="bits a second of a serial port")]
TestSamples = Annotated[
    Path | None, typer.Option("--test", metavar="E.npz", help="test samples, evaluated before and after")
]
Epochs = Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="passes over the training samples")]
Rate = Annotated[float, typer.Option("--lr", metavar="RATE", help="learning rate at the start")]
Falls = Annotated[Schedule, typer.Option("--schedule", metavar="cosine|linear|constant", help="how the rate falls")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="seed of shuffling and rounding")]
