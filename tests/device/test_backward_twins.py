"""Assembly writes what its portable twin writes, on both emulated cores, on thousands of random cases."""

from pathlib import Path

import pytest

from firmware_support import EMULATED
from mcugrad.resources import runtime_dir
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build_program
from mcugrad.simulate.run import run_program

TWINS = Path(__file__).parent / "twins"
DEPTHWISE = (
    *("depthwise_conv2d_rows_s8", "depthwise_conv2d_dgrad_s8", "depthwise_tile", "depthwise_sums"),
    *("requantize_sums", "sums_to_float", "widen_rows", "store"),
)
SOURCES = runtime_dir() / "src"
PROGRAMS = {
    "store": ("store",),
    "panel_sums": ("panel_sums_s8", "weight_columns_s8", "weight_columns_of_pairs_s8"),
    "depthwise": DEPTHWISE,
    "elementwise": ("add_s8", "mask_bits", "sum_s8"),
    "wgrad": ("rows_pair_s8", "rows_panel_s8", "step_weights_s8"),
}


@pytest.mark.device
@pytest.mark.parametrize("board", EMULATED)
@pytest.mark.parametrize(("program", "kernels"), PROGRAMS.items())
def test_twins_agree(program: str, kernels: tuple[str, ...], board: str, tmp_path: Path) -> None:
    files = [TWINS / f"{program}_twins.c", TWINS / "portable.c"]
    for kernel in kernels:
        assembly = "depthwise_sums_*s?" if kernel == "depthwise_sums" else kernel  # a file a window
        files += [SOURCES / f"{kernel}.c", *sorted((SOURCES / "armv7em").glob(f"{assembly}_armv7em.S"))]
    includes = (SOURCES, runtime_dir() / "include", TWINS)
    firmware = build_program(files, load_board(board), build_dir=tmp_path, includes=includes, check_stack=False)
    output = run_program(firmware, tmp_path, timeout=60)
    assert (output.exit_code, output.stderr) == (0, "")
