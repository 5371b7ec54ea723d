"""What the firmware tests share: the fake model's folder, data for it, and small C programs on a board."""

import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np

from mcugrad.emit.kernels import kernel_files
from mcugrad.simulate.board import Board, load_board
from mcugrad.simulate.build import Firmware, build_program
from mcugrad.simulate.run import Output, run_program
from mcugrad.simulate.session import Records

EMULATED = ("mps2-an386", "mps2-an500")  # every core that the assembly is tuned for
ALL_EMULATED = (*EMULATED, "mps2-an505", "qemu-riscv32")
FAKE_MODEL = Path(__file__).parent / "device" / "fake_model"
FAKE_INPUTS, FAKE_OUTPUTS, FAKE_BYTES = 12, 4, 192


def fake_folder(parent: Path) -> Path:
    """A copy of the fake model with the public header beside it, as `mcugrad compile` would; in a path with a space."""
    folder = parent / "a model"
    shutil.copytree(FAKE_MODEL, folder)
    for header in kernel_files([]):
        shutil.copy(header, folder)
    return folder


def clusters(n: int, seed: int = 0) -> Records:
    """n samples of four noisy classes that the fake model can learn."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).integers(-90, 90, (FAKE_OUTPUTS, FAKE_INPUTS))
    labels = rng.integers(0, FAKE_OUTPUTS, n)
    samples = np.clip(centres[labels] + rng.normal(0, 40, (n, FAKE_INPUTS)), -128, 127)
    return Records(samples.astype(np.int8), labels)


def targets(n: int, seed: int = 0) -> Records:
    """n samples with float32 targets, a linear map of the input."""
    rng = np.random.default_rng(seed)
    samples = rng.integers(-128, 128, (n, FAKE_INPUTS)).astype(np.int8)
    mixing = np.random.default_rng(7).normal(0, 0.005, (FAKE_INPUTS, FAKE_OUTPUTS))
    return Records(samples, (samples @ mixing).astype(np.float32))


@functools.cache
def _objects() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mcugrad-objects-")


def shared_objects() -> Path:
    """Kernels, start-up code and drivers, compiled once a process."""
    return Path(_objects().name)


def program(folder: Path, board: Board | str, body: str, *, check_stack: bool = False) -> Firmware:
    """`int main(void) {body}` (or whole files, if `body` has a main of its own) built for a board."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "program.c"
    head = '#include "semihosting.h"\n#include "board.h"\nint main(void);\n'
    source.write_text(
        head + (body if "main(" in body else f"int main(void) {{ {body} return 0; }}\n"), encoding="utf-8"
    )
    target = load_board(board) if isinstance(board, str) else board
    return build_program(
        [source], target, build_dir=folder / "build", check_stack=check_stack, objects=shared_objects()
    )


def run_body(folder: Path, board: str, body: str) -> tuple[Firmware, Output]:
    """Build a program on an emulated board and run it to its end."""
    firmware = program(folder, board, body)
    return firmware, run_program(firmware, folder, timeout=60)
