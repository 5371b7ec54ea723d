"""`mcugrad quantize`."""

from __future__ import annotations

from pathlib import Path

from mcugrad.errors import McugradError
from mcugrad.files import write_file


def quantize_command(source: Path, data: Path, output: Path) -> None:
    """Write the QDQ form of a float model and print how far it agrees. Raises McugradError."""
    from rich.console import Console

    from mcugrad import frontend

    if output.suffix != ".onnx" or not output.parent.resolve().is_dir():
        raise McugradError(f"{output}: give -o an .onnx file in a folder that exists")
    if output.exists() and output.resolve() == source.resolve():
        raise McugradError(f"{output} is the model itself: give -o another file")
    if output.exists():
        raise McugradError(f"{output} exists: give -o another file, nothing is overwritten")
    model = frontend.load_model(source)
    prepared = frontend.prepare(model)
    samples = frontend.load_npz(data, prepared, labels=False)
    quantized = frontend.quantize(model, samples.x)
    agreement = frontend.agreement(prepared, quantized, samples.x)
    write_file(output, quantized.SerializeToString(deterministic=True))
    console = Console()
    console.print(
        f"{output}: on {agreement.samples} samples the int8 model agrees with float32 in {agreement.argmax:.1%} of the "
        f"decisions; outputs differ by {agreement.mean_abs_error:.4g} on average (SNR {agreement.snr_db:.1f} dB)",
        highlight=False,
        soft_wrap=True,
    )
