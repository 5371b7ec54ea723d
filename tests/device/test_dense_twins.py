"""Assembly of the dense convolutions writes what its portable twin writes, on both emulated cores, on random cases."""

from pathlib import Path

import pytest

from firmware_support import EMULATED
from mcugrad.emit.kernels import kernel_files
from mcugrad.resources import runtime_dir
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build_program
from mcugrad.simulate.run import run_program

TWINS = Path(__file__).parent / "twins"


@pytest.mark.device
@pytest.mark.parametrize("board", EMULATED)
def test_twins_agree(board: str, tmp_path: Path) -> None:
    forward = ("conv2d_rows", "conv2d_strips", "conv2d_panels", "fully_connected_pairs")
    kernels = kernel_files([f"mg_{name}_s8" for name in forward])
    files = [path for path in kernels if path.suffix in (".c", ".S")]
    assert sum(path.suffix == ".S" for path in files) >= 5
    includes = (runtime_dir() / "src", runtime_dir() / "include", TWINS)
    sources = [TWINS / "dense_twins.c", TWINS / "portable_dense.c", *files]
    firmware = build_program(sources, load_board(board), build_dir=tmp_path, includes=includes, check_stack=False)
    output = run_program(firmware, tmp_path, timeout=120)
    assert (output.exit_code, output.stderr) == (0, "")
