"""One meaning, three executions: the Relax VM, the emitted C on the host by either compiler, and both emulated cores
hold the same bytes of state after training. And memory is as promised: by the linker, and by the stack's paint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from firmware_support import EMULATED
from graphs import residual_2d, samples, separable, watch
from mcugrad.pipeline import Compiled, Options, compile_file
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.loss_watch import LossWatch
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session, SessionResult
from mcugrad.simulate.toolchain import Compiler
from mcugrad.simulate.vm import ReferenceTrainer
from quantiser import Options as QuantizerOptions
from quantiser import quantized

pytestmark = pytest.mark.device

Array = npt.NDArray[Any]
STEPS, SEED = 200, 11

SPARSE_WATCH = """
head = true
[bias]
layers = ["stem", "block.conv2"]
[weight]
"down" = 0.3
"block.conv1" = { inputs = [1, 5, 30], outputs = [0, 2, 7, 31] }
"block.conv2" = { outputs = [3] }
"""
WIDE_REGRESSION = """
head = true
errors = "int16"
[bias]
last = 4
[weight]
"stem" = 0.5
"depthwise" = { outputs = [0, 7] }
"grouped" = 0.5
"dilated" = { inputs = [2] }
"last" = 1.0
"""
FLOAT_ERRORS = """
errors = "float32"
bias.last = 99
weight = { stem = 1.0, grouped = 1.0, wide = 0.25 }
"""


ASYMMETRIC = """
errors = "{}"
bias.last = 99
weight = {{ stem_quant = 1.0, grouped_quant = 1.0, wide_quant = 0.25 }}
"""


def asymmetric() -> onnx.ModelProto:
    """residual_2d in QLinearConv and QGemm whose weights have a zero point for each channel."""
    model = residual_2d()
    return quantized(model, samples(model), QuantizerOptions("QOperator", "QUInt8", False, True, "QUInt8", True))


PART_OF_A_BLOCK = """
head = true
bias.last = 4
weight = { first = 0.5, depthwise = 1.0, last = 1.0 }
"""


@dataclass(frozen=True)
class Case:
    """A model, how it trains, and at which rate."""

    graph: Callable[[], onnx.ModelProto]
    scheme: str
    loss: Any = "cross_entropy"
    rate: float = 0.02


CASES = {
    "watch-all": Case(watch, "all"),
    "watch-sparse": Case(watch, SPARSE_WATCH),
    "residual-all": Case(residual_2d, "all"),
    "residual-float": Case(residual_2d, FLOAT_ERRORS),
    "separable-part": Case(separable, PART_OF_A_BLOCK),
    "asymmetric-all": Case(asymmetric, "all"),
    "asymmetric-float": Case(asymmetric, ASYMMETRIC.format("float32")),
    "asymmetric-wide": Case(asymmetric, ASYMMETRIC.format("int16")),
    "regression-wide": Case(lambda: residual_2d(seed=1, outputs=3), WIDE_REGRESSION, "mse"),
}


@dataclass(frozen=True)
class Trained:
    """A compiled folder, the session every execution runs, and what the Relax VM made of it."""

    folder: Path
    compiled: Compiled
    session: Session
    parameters: dict[str, Array]
    ratios: list[Array]
    losses: Array
    watch: LossWatch


def _compile(case: Case, parent: Path, name: str = "model") -> tuple[Path, Compiled]:
    model = case.graph()
    onnx.save(model, parent / "graph.onnx")
    np.savez(parent / "calibration.npz", x=samples(model))
    scheme = case.scheme
    if "\n" in scheme:
        (parent / "scheme.toml").write_text(scheme, encoding="utf-8")
        scheme = str(parent / "scheme.toml")
    options = Options("mps2-an386", parent / "calibration.npz", scheme, loss=case.loss)
    written = compile_file(parent / "graph.onnx", parent / name, options, ["mcugrad", "compile"])
    return parent / name, written.compiled


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    case = CASES[request.param]
    folder, compiled = _compile(case, tmp_path_factory.mktemp(request.param))
    assert compiled.step is not None
    rng = np.random.default_rng(5)
    model, n = compiled.model, STEPS // 4  # every record comes four times, so that something is learned
    x = np.clip(rng.normal(model.input_grid.zero_point, 55, (n, *model.input_shape)), -128, 127).astype(np.int8)
    outputs = model.output_shape[-1]
    y: Array = rng.integers(0, outputs, n).astype(np.int32)
    if case.loss == "mse":
        y = rng.normal(0, 1, (n, *model.output_shape)).astype(np.float32)
    records = Records(x, y)
    session = Session(Mode.STEPS, outputs, records, steps=STEPS, learning_rate=case.rate, seed=SEED)
    trainer = ReferenceTrainer(model, compiled.step)
    losses = [
        trainer.train_step(
            x[i % n], y[i % n].reshape(-1) if case.loss == "cross_entropy" else y[i % n], case.rate, SEED, i
        )
        for i in range(STEPS)
    ]
    ratios = [trainer.ratios[name] for name in compiled.step.ratios]
    return Trained(folder, compiled, session, trainer.parameters, ratios, np.array(losses, np.float32), trainer.watch)


def _expected_state(trained: Trained) -> bytes:
    """<name>_state_t after the session, from what the Relax VM computed."""
    manifest, session = read_manifest(trained.folder), trained.session
    plan: dict[str, float] = {"seed": SEED, "step": STEPS, "total_steps": STEPS, "schedule": session.schedule}
    plan["learning_rate"] = session.learning_rate
    plan |= {f"watch.{name}": value for name, value in vars(trained.watch).items()}
    state, ratios = bytearray(manifest["state_bytes"]), iter(trained.ratios)
    for entry in manifest["state"]:
        if entry["role"] == "bookkeeping":
            value = np.array([plan[entry["name"]]], entry["dtype"])
        else:
            value = next(ratios) if entry["role"] == "error_ratio" else trained.parameters[entry["name"]]
            if "frozen" in entry:
                value = value[:, : entry["shape"][1]]
        assert (str(value.dtype), list(value.shape)) == (entry["dtype"], entry["shape"])
        state[entry["offset"] : entry["offset"] + value.nbytes] = value.tobytes()
    assert next(ratios, None) is None
    return bytes(state)


def _same_as_relax(trained: Trained, result: SessionResult) -> None:
    assert result.losses.tobytes() == trained.losses.tobytes()
    assert result.state == _expected_state(trained)


def test_host_and_relax_hold_the_same_bytes(trained: Trained) -> None:
    """gcc and clang, unoptimised and optimised; and gcc again with every sanitizer."""
    host = load_board("host")
    builds: list[tuple[Compiler, str, bool]] = [(c, o, False) for c in ("gcc", "clang") for o in ("-O0", "-O3")]
    for compiler, optimize, sanitize in [*builds, ("gcc", "-O1", True)]:
        firmware = build(trained.folder, host, compiler=compiler, optimize=optimize, sanitize=sanitize)
        result = run_session(firmware, trained.session, timeout=300)
        _same_as_relax(trained, result)
        assert result.not_finite == 0


def test_training_changed_the_parameters(trained: Trained) -> None:
    model = trained.compiled.model
    moved = {p.name for p in model.parameters if (p.value != trained.parameters[p.name]).any()}
    assert moved == set(trained.compiled.selection.names)
    assert trained.losses[-50:].mean() < trained.losses[:50].mean()


@pytest.mark.parametrize("board", EMULATED)
def test_boards_and_relax_hold_the_same_bytes(trained: Trained, board: str) -> None:
    """And the memory: predicted static SRAM is what is linked, the stack's bound holds what was painted over."""
    firmware = build(trained.folder, load_board(board))
    result = run_session(firmware, trained.session, timeout=300)
    _same_as_relax(trained, result)
    manifest = read_manifest(trained.folder)
    assert firmware.sizes.static == manifest["predicted"]["sram"]["static"]
    assert manifest["static_bytes"] in {size for _, size in firmware.statics} or len(firmware.statics) == 1
    assert 0 < result.stack_high_water <= firmware.stack_bound <= result.stack_reserve
    assert firmware.sizes.flash <= manifest["predicted"]["flash"]["total"]


def test_the_arena_is_close_to_its_bound(trained: Trained) -> None:
    program = trained.compiled.program
    assert program.arena_lower_bound <= program.arena_bytes <= 1.05 * program.arena_lower_bound


def test_two_compilations_give_the_same_bytes(trained: Trained, request: pytest.FixtureRequest) -> None:
    case = CASES[request.node.callspec.params["trained"]]
    again, _ = _compile(case, trained.folder.parent, "again")
    first, second = ({p.name: p.read_bytes() for p in f.iterdir() if p.is_file()} for f in (trained.folder, again))
    assert first == second
