"""Predicted flash is a bound: not below what the linker reports, and close to it. Its table is that of the sources."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.code_size import measure_files, sources
from cli_support import network, write_model, write_samples
from mcugrad.pipeline import Options, compile_file
from mcugrad.plan import code_size
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build
from mcugrad.simulate.toolchain import find_compiler, tool_version

pytestmark = pytest.mark.device
ROOT = Path(__file__).resolve().parents[2]
WATCH = ROOT / "models" / "watch" / "watch-unseen-2.onnx"
SHARED = Path(os.environ.get("MCUGRAD_SHARED", ROOT / ".." / "shared")) / "models" / "mcunet-5fps.int8.onnx"
COMMAND = "python -m tests.bench.code_size"
CLOSE = 0.10  # of the linked flash


def _check(source: Path, folder: Path, options: Options) -> None:
    budget = compile_file(source, folder, options, ["test"]).budget
    firmware = build(folder, load_board(options.board))
    linked = firmware.sizes.flash
    assert linked <= budget.flash <= linked * (1 + CLOSE), f"measure the code again: {COMMAND}"
    assert firmware.sizes.static == budget.static
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("board", "train"),
    [
        *((board, train) for board in ("mps2-an386", "mps2-an500") for train in ("none", "head", "all")),
        *(("mps2-an505", "all"), ("qemu-riscv32", "all")),
    ],
)
def test_the_watch(tmp_path: Path, board: str, train: str) -> None:
    x = np.random.default_rng(0).standard_normal((8, 6, 100)).astype(np.float32)
    _check(WATCH, tmp_path / "out", Options(board, write_samples(tmp_path / "c.npz", x=x), train))


@pytest.mark.parametrize("errors", ["int8", "int16", "float32"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_small_network_in_every_error_type(tmp_path: Path, errors: str, loss: str) -> None:
    scheme = tmp_path / "scheme.toml"
    scheme.write_text(f'errors = "{errors}"\n[bias]\nlast = 1\n[weight]\nstem = 1.0\n', encoding="utf-8")
    model, data = write_model(tmp_path / "m.onnx", network()), write_samples(tmp_path / "c.npz")
    choice = "mse" if loss == "mse" else "cross_entropy"
    _check(model, tmp_path / "out", Options("mps2-an386", data, str(scheme), loss=choice))  # type: ignore[arg-type]


if SHARED.is_file():

    def test_mcunet(tmp_path: Path) -> None:
        _check(SHARED, tmp_path / "out", Options("mps2-an386", train="head", classes=10))


@pytest.mark.parametrize("name", ["mps2-an386", "qemu-riscv32"])
def test_the_table_is_that_of_the_sources(name: str) -> None:
    """With another compiler than the table's only its completeness can be asked."""
    board = load_board(name)
    table = code_size.load_table()["cores"][board.core]
    known = table["files"]
    assert set(known) == {path.name for path in sources()}, f"run {COMMAND}"
    compiler = find_compiler(board, "gcc")
    if tool_version(compiler) == table["compiler"]:
        found = measure_files(compiler, board)
        drifted = {n: (known[n], found[n]) for n in known if abs(known[n] - found[n]) > max(32, 0.05 * known[n])}
        assert not drifted, f"run {COMMAND}"
