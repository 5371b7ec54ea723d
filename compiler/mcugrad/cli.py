"""The command line. Each command is a function of `mcugrad.commands`, imported when it runs: `-h` stays fast."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from mcugrad.cli_connect import PORT_HELP, MaybeModel, State, connect_app
from mcugrad.cli_help import HelpCommand
from mcugrad.cli_options import Baud, Epochs, Falls, Rate, Schedule, Seed, TestSamples
from mcugrad.errors import McugradError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_UsageError: type[Any] = typer.BadParameter.__mro__[1]  # click's, which typer ships inside itself


app = typer.Typer(
    name="mcugrad",
    help="Compiles ONNX graphs into C firmware that trains them, in int8, on a 256 KB microcontroller.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(connect_app, name="connect")


class Loss(str, Enum):
    """Loss functions."""

    cross_entropy = "cross_entropy"
    mse = "mse"


class Input(str, Enum):
    """How a sample reaches the model."""

    resident = "resident"
    pushed = "pushed"


class Optimize(str, Enum):
    """What the planner makes small."""

    ram = "ram"
    speed = "speed"


def _bytes(text: str) -> int:
    """98304, 96K or 1M."""
    units = {"K": 1024, "M": 1024 * 1024}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    if not number.isdecimal() or int(number) == 0:
        raise typer.BadParameter(f"'{text}' is no size: give bytes, such as 98304 or 96K")
    return int(number) * unit


class Layout(str, Enum):
    """Build systems that a model can be a library for."""

    cmake = "cmake"
    platformio = "platformio"
    arduino = "arduino"
    zephyr = "zephyr"


Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="float, QDQ or QOperator ONNX file")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="folder that `mcugrad compile` wrote")]
DEFAULT_BOARD = "mps2-an386"


@app.command(cls=HelpCommand)
def inspect(
    model: Model,
    board: Annotated[str, typer.Option("--board", metavar="B", help="board to judge against")] = DEFAULT_BOARD,
) -> None:
    """Show layers and sizes, and whether a board can hold it.

    Says what is not supported and why. Exit code 2 when the model cannot be compiled for the board.
    """
    from mcugrad.commands.inspect import inspect_command

    raise typer.Exit(inspect_command(model, board))


@app.command(cls=HelpCommand)
def quantize(
    model: Model,
    data: Annotated[Path, typer.Option("--data", metavar="CALIB.npz", help="calibration samples: x, float32")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="Q.onnx", help="QDQ file to write")],
) -> None:
    """Quantise a float model to int8.

    By onnxruntime, weights per channel, as QDQ; prints how far the two agree on the data.
    """
    from mcugrad.commands.quantize import quantize_command

    quantize_command(model, data, output)


@app.command(cls=HelpCommand)
def compile(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder to write")],
    board: Annotated[str, typer.Option("--board", metavar="B", help="board whose budgets hold")] = DEFAULT_BOARD,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="CALIB.npz", help="calibration samples, for a float model")
    ] = None,
    train: Annotated[
        str, typer.Option("--train", metavar="SCHEME", help="TOML file, or all, head, biases, none")
    ] = "none",
    classes: Annotated[
        int | None, typer.Option("--classes", metavar="N", min=1, help="replace the classifier by a fresh one")
    ] = None,
    loss: Annotated[
        Loss, typer.Option("--loss", metavar="cross_entropy|mse", help="what training minimises")
    ] = Loss.cross_entropy,
    input: Annotated[
        Input,
        typer.Option("--input", metavar="resident|pushed", help="the sample lies in SRAM, or is pushed row by row"),
    ] = Input.resident,
    ram: Annotated[
        int | None,
        typer.Option(
            "--ram", metavar="BYTES", parser=_bytes, help="SRAM to stay within, such as 96K; prints the choices"
        ),
    ] = None,
    flash: Annotated[
        int | None,
        typer.Option("--flash", metavar="BYTES", parser=_bytes, help="flash to stay within, such as 512K"),
    ] = None,
    optimize: Annotated[
        Optimize, typer.Option("--optimize", metavar="ram|speed", help="least SRAM, or fewest instructions that fit")
    ] = Optimize.ram,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="write a page about the result")
    ] = None,
) -> None:
    """Compile a model to C that infers and trains it."""
    from mcugrad.commands.compile import compile_command
    from mcugrad.pipeline import Options

    options = Options(board, data, train, classes, loss.value, input.value, ram, flash, optimize.value)
    compile_command(model, output, options, ["mcugrad", *sys.argv[1:]], report)


@app.command(cls=HelpCommand)
def run(
    folder: Folder,
    on: Annotated[str, typer.Option("--on", metavar="host|BOARD", help="where to run")] = "host",
    train: Annotated[Path | None, typer.Option("--train", metavar="T.npz", help="training samples: x, y")] = None,
    test: TestSamples = None,
    epochs: Epochs = 5,
    lr: Rate = 0.003,
    schedule: Falls = Schedule.cosine,
    seed: Seed = 0,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="F", help="what was learned, .npz or .state (default: a new .npz in DIR)"),
    ] = None,
    cache_prefix: Annotated[
        bool, typer.Option("--cache-prefix", help="run the layers before the first that trains in the first epoch only")
    ] = False,
) -> int:
    """Build, train and evaluate, here or on a board.

    What was learned goes to a new file in DIR, or to --save; no file is overwritten. Training that diverges ends with
    exit code 1, and its file holds the last good weights.
    """
    from mcugrad.commands.run import RunOptions, run_command

    return run_command(folder, RunOptions(on, train, test, epochs, lr, schedule.value, seed, save, cache_prefix))


Compiled = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="DIR",
        help="a folder that `compile` wrote (default: the one that the state lies in or beside)",
    ),
]
Out = Annotated[Path, typer.Option("-o", metavar="OUT", help="a new file: .onnx, .npz or .state")]


@app.command(cls=HelpCommand)
def pull(
    source: Annotated[
        str, typer.Argument(metavar="STATE|PORT", help="a .state file, an .npz that `run` wrote, or a device's port")
    ],
    out: Out,
    model: Compiled = None,
    baud: Baud = 115200,
) -> None:
    """Turn what a device learned into ONNX, NumPy or a state file.

    The ONNX file is the network that was compiled, with the trained values: onnxruntime gives the device's outputs on
    it, and compiling it makes a device that has learned as much.
    """
    from mcugrad.commands import connect, pull
    from mcugrad.device import Device, is_port

    if not is_port(source):
        pull.pull_command(Path(source), model, out)
        return
    with Device(source, model, baud=baud) as device:
        connect.pull_command(device, model, out)


@app.command(cls=HelpCommand)
def push(
    state: State,
    port: Annotated[str, typer.Argument(metavar="PORT", help=PORT_HELP)],
    model: MaybeModel = None,
    baud: Baud = 115200,
) -> None:
    """Make a device one that has learned a state.

    `mcugrad connect PORT save` keeps it. A device that runs another model is refused, and stays as it is.
    """
    from mcugrad.commands.connect import push_command
    from mcugrad.device import Device

    with Device(port, model, baud=baud) as device:
        push_command(device, state)


@app.command(cls=HelpCommand)
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="STATE", help="two or more, of one model")],
    out: Out,
    weights: Annotated[
        list[float] | None, typer.Option("--weight", metavar="W", help="of each state, in their order (default: 1)")
    ] = None,
    model: Compiled = None,
) -> None:
    """Average what several devices learned.

    Integers are averaged as integers, weight by weight; every state must be of the same compilation.
    """
    from mcugrad.commands.pull import merge_command

    merge_command(sources, model, weights or [], out)


@app.command(cls=HelpCommand)
def serve(
    folder: Folder,
    on: Annotated[str, typer.Option("--on", metavar="host|BOARD", help="where to run")] = "host",
) -> None:
    """Run a model behind a serial line, for `connect`.

    Prints the port, and ends with Ctrl-C. What is saved in its flash lasts as long.
    """
    from mcugrad.commands.connect import serve_command

    serve_command(folder, on)


@app.command(cls=HelpCommand)
def bench(
    folder: Folder,
    on: Annotated[str, typer.Option("--on", metavar="BOARD", help="an emulated board")] = DEFAULT_BOARD,
    json: Annotated[Path | None, typer.Option("--json", metavar="F", help="write the figures there")] = None,
) -> None:
    """Measure instructions, SRAM and flash on a board."""
    from mcugrad.commands.bench import bench_command

    bench_command(folder, on, json)


@app.command(cls=HelpCommand)
def flash(
    folder: Folder,
    board: Annotated[str, typer.Option("--board", metavar="B", help="a real board")],
    port: Annotated[
        str | None, typer.Option("--port", metavar="PORT", help="serial port, where the tool needs one")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="build, and print the flashing command only")] = False,
) -> None:
    """Build a real board's firmware and bring it there.

    ELF, BIN, HEX (and UF2) go to DIR/build; the board's first tool that is installed does the rest.
    """
    from mcugrad.commands.flash import flash_command

    flash_command(folder, board, port, dry_run)


@app.command(cls=HelpCommand)
def export(
    folder: Folder,
    layout: Annotated[
        Layout, typer.Option("--as", metavar="cmake|platformio|arduino|zephyr", help="whose layout it has")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="folder to write")],
) -> None:
    """Make a library of a compiled model, for another build system."""
    from mcugrad.commands.export import export_command

    export_command(folder, layout.value, output)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point, with sys.argv when `arguments` is None: exits with the command's code.

    A mistake in the input is one sentence on stderr and exit code 2; an interrupt exit code 130, a termination 143.
    """
    stop = _Stop()
    handlers = {number: signal.signal(number, stop) for number in _SIGNALS}
    code = _run(list(sys.argv[1:] if arguments is None else arguments), stop)
    if arguments is not None:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.exit(code)
    for number in _SIGNALS:  # what is done is done: unloading the libraries takes a while, and must not change the code
        signal.signal(number, signal.SIG_IGN)
    if stop.signal:
        sys.stderr.flush()
        # An interrupt inside exec("...") makes CPython end by the signal itself, although it was handled.
        os._exit(code)
    sys.exit(code)


class _Stop:
    """Handler of SIGINT and SIGTERM: unwinds as Ctrl-C does, so that files and children are cleaned up.

    Until `last_word`, stderr is closed to libraries that complain about being interrupted.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._stderr = -1

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if not self.signal:
            self.signal, self._stderr = number, os.dup(2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        raise KeyboardInterrupt

    def last_word(self) -> None:
        sys.stderr.flush()
        os.dup2(self._stderr, 2)
        print("mcugrad: interrupted; nothing was written half-way", file=sys.stderr)


def _run(arguments: list[str], stop: _Stop) -> int:
    sys.argv[1:] = arguments
    try:
        answer = app(arguments, prog_name="mcugrad", standalone_mode=False)
        sys.stdout.flush()
        code = answer if isinstance(answer, int) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except (McugradError, OSError) as problem:
        code = _refuse(problem) if not stop.signal else 0
    except _UsageError as problem:
        code = _explain(problem)
    except BaseException:
        # Foreign code may turn an interrupt into an exception of its own.
        if not stop.signal:
            raise
        code = 0
    if stop.signal:
        stop.last_word()
        return 128 + stop.signal
    return code


def _refuse(problem: Exception) -> int:
    """One sentence, whatever happened."""
    if isinstance(problem, OSError):
        where = f" {problem.filename}" if problem.filename is not None else ""
        text = f"cannot use{where}: {problem.strerror or problem}; check that it exists, its permissions and the disk"
    else:
        text = " ".join(str(problem).split())
    print(f"mcugrad: error: {text}", file=sys.stderr)
    return 2


def _explain(problem: Any) -> int:
    """A mistake in the command's words; no words at all are answered by the help."""
    if type(problem).__name__ == "NoArgsIsHelpError":
        print(problem.format_message())
        return 2
    command = problem.ctx.command_path.replace("{PORT}", "PORT") if problem.ctx is not None else "mcugrad"
    text = problem.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's, which typer validates with
    print(f"mcugrad: error: {text}: see `{command} -h`", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
