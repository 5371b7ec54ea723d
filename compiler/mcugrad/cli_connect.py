"""`mcugrad connect PORT VERB`: the part of the command line that talks to a device. Imports wait, as in cli.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mcugrad.cli_help import HelpCommand
from mcugrad.cli_options import Baud, Epochs, Falls, Rate, Schedule, Seed, TestSamples

connect_app = typer.Typer(
    help="Talk to a device over its serial line.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


PORT_HELP = "serial port or PTY, tcp:HOST:PORT, or unix:PATH (QEMU's -serial)"
State = Annotated[Path, typer.Argument(metavar="FILE.state", help="state that a device of this model has learned")]
Model = Annotated[Path, typer.Option("--model", metavar="DIR", help="folder that the firmware was built from")]
MaybeModel = Annotated[
    Path | None,
    typer.Option("--model", metavar="DIR", help="refuse a device that runs another model than this folder's"),
]


@connect_app.callback(subcommand_metavar="VERB ...")
def connect(
    ctx: typer.Context,
    port: Annotated[str, typer.Argument(metavar="PORT", help=PORT_HELP)],
    baud: Baud = 115200,
) -> None:
    """Talk to a device over its serial line: train it, judge it, keep what it learned."""
    ctx.obj = (port, baud)


def _open(ctx: typer.Context, model: Path | None) -> Any:
    from mcugrad.device import Device

    port, baud = ctx.obj
    return Device(port, model, baud=baud)


@connect_app.command(cls=HelpCommand)
def info(ctx: typer.Context, model: MaybeModel = None) -> None:
    """Show which model runs, its sizes, and what it started from."""
    from mcugrad.commands.connect import info_command

    with _open(ctx, model) as device:
        info_command(device)


@connect_app.command(cls=HelpCommand)
def predict(
    ctx: typer.Context,
    model: Model,
    data: Annotated[Path, typer.Option("--data", metavar="X.npz", help="samples: x, float32")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="P.npz", help="write the outputs there")
    ] = None,
) -> None:
    """Predict samples on the device."""
    from mcugrad.commands.connect import predict_command

    with _open(ctx, model) as device:
        predict_command(device, data, output)


@connect_app.command(cls=HelpCommand)
def train(
    ctx: typer.Context,
    model: Model,
    train: Annotated[Path, typer.Option("--train", metavar="T.npz", help="training samples: x, y")],
    test: TestSamples = None,
    epochs: Epochs = 5,
    lr: Rate = 0.003,
    schedule: Falls = Schedule.cosine,
    seed: Seed = 0,
    save: Annotated[bool, typer.Option("--save", help="save in the device's flash after every epoch")] = False,
) -> int:
    """Train the device, sample by sample, and watch it learn.

    Gives the bits of `mcugrad run` with the same options. With --test it is judged after every epoch. A device
    that is reset goes on from what it saved. Training that diverges ends with exit code 1, and leaves the device with
    the last good weights.
    """
    from mcugrad.commands.connect import TrainOptions, train_command

    with _open(ctx, model) as device:
        return train_command(device, TrainOptions(train, test, epochs, lr, schedule.value, seed, save))


@connect_app.command("eval", cls=HelpCommand)
def evaluate(
    ctx: typer.Context,
    model: Model,
    test: Annotated[Path, typer.Option("--test", metavar="E.npz", help="test samples: x, y")],
) -> None:
    """Judge the device on samples; it counts itself."""
    from mcugrad.commands.connect import evaluate_command

    with _open(ctx, model) as device:
        evaluate_command(device, test)


@connect_app.command(cls=HelpCommand)
def save(ctx: typer.Context, model: MaybeModel = None) -> None:
    """Keep what the device has learned in its flash."""
    with _open(ctx, model) as device:
        print(f"saved at step {device.save()}")


@connect_app.command(cls=HelpCommand)
def load(ctx: typer.Context, model: MaybeModel = None) -> None:
    """Go back to what the device has saved."""
    with _open(ctx, model) as device:
        print(f"loaded: step {device.load()}")


@connect_app.command(cls=HelpCommand)
def reset(ctx: typer.Context, model: MaybeModel = None) -> None:
    """Back to factory weights; what was saved is erased."""
    with _open(ctx, model) as device:
        print("factory weights" + ("; nothing is saved any more" if device.reset() else ""))


@connect_app.command(cls=HelpCommand)
def pull(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("-o", metavar="OUT", help="a new file: .onnx, .npz or .state")],
    model: MaybeModel = None,
) -> None:
    """Fetch what the device has learned into a file.

    As `mcugrad pull PORT` does; .onnx and .npz take --model.
    """
    from mcugrad.commands.connect import pull_command

    with _open(ctx, model) as device:
        pull_command(device, model, out)


@connect_app.command(cls=HelpCommand)
def push(ctx: typer.Context, state: State, model: MaybeModel = None) -> None:
    """Make the device one that has learned a state. `save` keeps it."""
    from mcugrad.commands.connect import push_command

    with _open(ctx, model) as device:
        push_command(device, state)


@connect_app.command(cls=HelpCommand)
def monitor(ctx: typer.Context, model: MaybeModel = None) -> None:
    """Show the device's training as it goes on, until Ctrl-C."""
    from mcugrad.commands.connect import monitor_command

    with _open(ctx, model) as device:
        monitor_command(device)
