"""The command line. Each command is a function of `mcugrad.commands`, imported when it runs: `-h` must answer at once."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="mcugrad",
    help="Compiles ONNX graphs into C firmware that trains them, in int8, on a 256 KB microcontroller.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Loss(str, Enum):
    """Loss functions."""

    cross_entropy = "cross_entropy"
    mse = "mse"


class Schedule(str, Enum):
    """Learning-rate schedules."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"


Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="float, QDQ or QOperator ONNX file")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="folder that `mcugrad compile` wrote")]
On = Annotated[str, typer.Option("--on", metavar="host|BOARD", help="where to run")]
DEFAULT_BOARD = "mps2-an386"


@app.command()
def inspect(
    model: Model,
    board: Annotated[str, typer.Option("--board", metavar="B", help="board to judge against")] = DEFAULT_BOARD,
) -> None:
    """Show layers, sizes, what is unsupported and why, and whether the model fits a board."""
    from mcugrad.commands.inspect import inspect_command

    raise typer.Exit(inspect_command(model, board))


@app.command()
def quantize(
    model: Model,
    data: Annotated[Path, typer.Option("--data", metavar="CALIB.npz", help="calibration samples: x, float32")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="Q.onnx", help="QDQ file to write")],
) -> None:
    """Quantise a float model to int8 (onnxruntime, per channel) and compare the two on the data."""
    from mcugrad.commands.quantize import quantize_command

    quantize_command(model, data, output)


@app.command()
def compile(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder to write")],
    board: Annotated[str, typer.Option("--board", metavar="B", help="board whose budgets hold")] = DEFAULT_BOARD,
    data: Annotated[
        Optional[Path], typer.Option("--data", metavar="CALIB.npz", help="calibration samples, for a float model")
    ] = None,
    train: Annotated[
        str, typer.Option("--train", metavar="SCHEME", help="TOML file, or all, head, biases, none")
    ] = "none",
    classes: Annotated[
        Optional[int], typer.Option("--classes", metavar="N", help="replace the classifier by a fresh one")
    ] = None,
    loss: Annotated[Loss, typer.Option("--loss", help="what training minimises")] = Loss.cross_entropy,
) -> None:
    """Compile a model to a folder of C that infers and trains it."""
    from mcugrad.commands.compile import compile_command
    from mcugrad.pipeline import Options

    compile_command(model, output, Options(board, data, train, classes, loss.value), ["mcugrad", *sys.argv[1:]])


@app.command()
def run(
    folder: Folder,
    on: On = "host",
    train: Annotated[
        Optional[Path], typer.Option("--train", metavar="T.npz", help="training samples: x, y")
    ] = None,
    test: Annotated[
        Optional[Path], typer.Option("--test", metavar="E.npz", help="test samples, evaluated before and after")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="passes over the training samples")] = 5,
    lr: Annotated[float, typer.Option("--lr", help="learning rate at the start")] = 0.003,
    schedule: Annotated[Schedule, typer.Option("--schedule", help="how the rate falls")] = Schedule.cosine,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of shuffling and rounding")] = 0,
    save: Annotated[
        Optional[Path], typer.Option("--save", metavar="W.npz", help="trained weights (default: a new file in DIR)")
    ] = None,
) -> None:
    """Build, train and evaluate on this host or on a board; save what was learned."""
    from mcugrad.commands.run import RunOptions, run_command

    run_command(folder, RunOptions(on, train, test, epochs, lr, schedule.value, seed, save))


@app.command()
def bench(
    folder: Folder,
    on: On = DEFAULT_BOARD,
    json: Annotated[Optional[Path], typer.Option("--json", metavar="F", help="write the figures there")] = None,
) -> None:
    """Measure executed instructions, SRAM and flash on an emulated board."""
    from mcugrad.commands.bench import bench_command

    bench_command(folder, on, json)


def main() -> None:
    """Entry point: an error is one sentence on stderr and exit code 2, an interrupt exit code 130."""
    from mcugrad.errors import McugradError

    try:
        app()
    except McugradError as problem:
        print(f"mcugrad: error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("mcugrad: interrupted; nothing was written half-way", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
