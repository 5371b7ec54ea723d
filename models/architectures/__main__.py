"""`python -m models.architectures mcunet --classes 10 --resolution 128 -o mcunet.onnx`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import onnx
import typer

from mcugrad import frontend
from mcugrad.errors import McugradError
from models import architectures

app = typer.Typer(
    help="Writes float ONNX graphs of known architectures with fresh weights.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Output = Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.onnx", help="file to write")]
Width = Annotated[float, typer.Option("--width", help="share of the published channels")]
Resolution = Annotated[int, typer.Option("--resolution", help="height and width of the image")]
Classes = Annotated[int, typer.Option("--classes", help="outputs of the head")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="of the weights")]


@app.command()
def mcunet(
    output: Output, width: Width = 1.0, resolution: Resolution = 128, classes: Classes = 1000, seed: Seed = 0
) -> None:
    """MCUNet-5fps."""
    _write(architectures.mcunet(width, resolution, classes, seed), output)


@app.command()
def mobilenetv2(
    output: Output, width: Width = 0.35, resolution: Resolution = 128, classes: Classes = 1000, seed: Seed = 0
) -> None:
    """MobileNetV2."""
    _write(architectures.mobilenetv2(width, resolution, classes, seed), output)


@app.command()
def proxylessnas(
    output: Output, width: Width = 0.3, resolution: Resolution = 128, classes: Classes = 1000, seed: Seed = 0
) -> None:
    """ProxylessNAS-mobile."""
    _write(architectures.proxylessnas(width, resolution, classes, seed), output)


@app.command()
def mobilenetv1(
    output: Output, width: Width = 0.25, resolution: Resolution = 96, classes: Classes = 2, seed: Seed = 0
) -> None:
    """MobileNetV1 (visual wake words)."""
    _write(architectures.mobilenetv1(width, resolution, classes, seed), output)


@app.command()
def ds_cnn(
    output: Output,
    width: Width = 1.0,
    frames: Annotated[int, typer.Option("--frames", help="spectra of one sample")] = 49,
    coefficients: Annotated[int, typer.Option("--coefficients", help="MFCC of one spectrum")] = 10,
    classes: Classes = 12,
    seed: Seed = 0,
) -> None:
    """DS-CNN (keyword spotting)."""
    _write(architectures.ds_cnn(width, frames, coefficients, classes, seed), output)


@app.command()
def autoencoder(
    output: Output,
    width: Width = 1.0,
    inputs: Annotated[int, typer.Option("--inputs", help="features of one sample, and outputs")] = 640,
    bottleneck: Annotated[int, typer.Option("--bottleneck", help="features in the middle")] = 8,
    seed: Seed = 0,
) -> None:
    """Fully connected autoencoder (anomaly detection)."""
    _write(architectures.autoencoder(width, inputs, bottleneck, seed), output)


def _write(model: onnx.ModelProto, output: Path) -> None:
    try:
        output.write_bytes(model.SerializeToString())
    except OSError as problem:
        raise McugradError(f"{output}: cannot be written: {problem.strerror}") from problem
    summary = frontend.summarize(frontend.load_model(output))
    typer.echo(f"{output}: {summary.params:,} parameters, {summary.macs:,} MACs")


def main() -> NoReturn:
    """A mistake in the input is one sentence on stderr and exit code 2."""
    try:
        app(prog_name="python -m models.architectures")
    except McugradError as problem:
        typer.echo(f"error: {problem}", err=True)
        sys.exit(2)
    sys.exit(0)


if __name__ == "__main__":
    main()
