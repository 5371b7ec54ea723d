"""Assembly writes what its portable twin writes, on both emulated cores, on thousands of random cases."""

from pathlib import Path

import pytest

from firmware_support import EMULATED
from mcugrad.emit.kernels import kernel_files
from mcugrad.resources import runtime_dir
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build_program
from mcugrad.simulate.run import run_program

TWINS = Path(__file__).parent / "twins"
PROGRAMS = {
    "store": ("store",),
    "panel_sums": ("panel_sums_s8", "weight_columns_s8", "weight_columns_of_pairs_s8"),
    "depthwise": ("depthwise_conv2d_rows_s8", "depthwise_conv2d_dgrad_s8"),
    "elementwise": ("add_s8", "mask_bits", "sum_s8"),
    "wgrad": ("rows_pair_s8", "rows_panel_s8", "step_weights_s8"),
}


@pytest.mark.device
@pytest.mark.parametrize("board", EMULATED)
@pytest.mark.parametrize(("program", "kernels"), PROGRAMS.items())
def test_twins_agree(program: str, kernels: tuple[str, ...], board: str, tmp_path: Path) -> None:
    ours = [path for path in kernel_files([f"mg_{name}" for name in kernels]) if path.suffix in (".c", ".S")]
    files = [TWINS / f"{program}_twins.c", TWINS / "portable.c", *ours]
    includes = (runtime_dir() / "src", runtime_dir() / "include", TWINS)
    firmware = build_program(files, load_board(board), build_dir=tmp_path, includes=includes, check_stack=False)
    output = run_program(firmware, tmp_path, timeout=60)
    assert (output.exit_code, output.stderr) == (0, "")
