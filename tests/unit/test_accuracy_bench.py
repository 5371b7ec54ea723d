"""What tests/bench/accuracy rests on: its edits of the emitted C fit and do what they say, its table is honest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from bench.accuracy.arms import ARMS
from bench.accuracy.cut import cut
from bench.accuracy.integer import whole
from bench.accuracy.networks import NETWORKS
from bench.accuracy.reference import same_parameters
from bench.accuracy.results import Results, Run, table
from graphs import residual_2d, samples
from mcugrad.frontend import run_model
from mcugrad.pipeline import Options, compile_file, import_graph
from mcugrad.scheme import Scheme, load_scheme, resolve
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session, SessionResult
from models.float_graph import FloatGraph

EDITED = [name for name, arm in ARMS.items() if arm.changes]
STEPS = 12


def _train(folder: Path) -> SessionResult:
    rng = np.random.default_rng(2)
    records = Records(rng.integers(-128, 128, (STEPS, 3, 13, 11)).astype(np.int8), np.arange(STEPS) % 5)
    session = Session(Mode.STEPS, 5, records, steps=STEPS, learning_rate=0.01, seed=3)
    return run_session(build(folder, load_board("host"), optimize="-O1"), session)


def _compile(folder: Path) -> Path:
    model = residual_2d()
    onnx.save(model, folder / "graph.onnx")
    np.savez(folder / "calibration.npz", x=samples(model))
    compile_file(folder / "graph.onnx", folder / "c", Options("host", folder / "calibration.npz", "all"), ["test"])
    return folder / "c"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> SessionResult:
    return _train(_compile(tmp_path_factory.mktemp("shipped")))


@pytest.mark.parametrize("name", EDITED)
def test_edited_c_builds_and_trains_otherwise(name: str, shipped: SessionResult, tmp_path: Path) -> None:
    folder = _compile(tmp_path)
    ARMS[name].patch(folder)
    result = _train(folder)
    assert result.losses[0] == shipped.losses[0]
    assert result.state != shipped.state


def test_an_edit_that_no_longer_fits_is_refused(tmp_path: Path) -> None:
    folder = _compile(tmp_path)
    ARMS["nearest"].patch(folder)
    with pytest.raises(ValueError, match="renew this patch"):
        ARMS["nearest"].patch(folder)


def test_cut_before_a_residual_block() -> None:
    """The tensors inside a block, where the skip connection runs beside them, are no place to cut."""
    model = residual_2d()
    x = samples(model, 3)
    halves = cut(model, "grouped")
    assert halves.joint == next(n.output[0] for n in model.graph.node if n.name == "stem.relu")
    features = run_model(halves.prefix, x)
    np.testing.assert_allclose(run_model(halves.suffix, features), run_model(model, x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="no node 'missing'"):
        cut(model, "missing")


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_trains_what_int8_trains(name: str) -> None:
    network = NETWORKS[name]
    assert network.int8.is_file(), f"{network.int8} is missing: set MCUGRAD_SHARED to the folder that holds models/"
    scheme = load_scheme(str(network.scheme_file))
    assert isinstance(scheme, Scheme)
    model = import_graph(cut(whole(network), network.first).suffix, "net", Options("host"), head="float32")
    selection, graph = resolve(scheme, model), FloatGraph.load(network.float32)
    choose = same_parameters(scheme, graph)
    for layer in graph.layers.values():
        weight, bias = choose(layer)
        assert (f"{layer.name}.bias" in selection.names) == bias
        assert (f"{layer.name}.weight" in selection.names) == bool(np.any(weight))
        if not isinstance(weight, bool):
            subset = selection.subset(model.parameter(f"{layer.name}.weight"))
            assert subset.inputs == ((0, int(np.count_nonzero(weight))),)
            assert weight.reshape(-1)[: np.count_nonzero(weight)].all()


def _run(lr: float, seed: int, validation: float, test: float = 0.5) -> Run:
    return Run("mcunet-5fps", "int8", lr, seed, 3, validation, test, (1.0,), 0, 0, 0, 9.0, "2000-01-01", "x")


def test_results_choose_the_rate_and_survive_being_read_again(tmp_path: Path) -> None:
    results, rates, seeds = Results(tmp_path / "results.jsonl"), ARMS["int8"].rates, ARMS["int8"].seeds
    for lr, validation in zip(rates[:-1], (0.8, 0.9, 0.7, 0.6), strict=True):
        results.add(_run(lr, seeds[0], validation))
        assert results.rate("mcunet-5fps", "int8") is None
    results.add(_run(rates[-1], seeds[0], 0.9, test=0.99))
    again = Results(results.path)
    assert [replace(r, losses=tuple(r.losses)) for r in again.runs] == results.runs
    assert again.rate("mcunet-5fps", "int8") == rates[1]
    assert again.rate("mcunet-5fps", "nearest") == rates[1]
    again.add(_run(rates[1], seeds[1], 0.9, test=0.6))
    text = table(again)
    assert f"| mcunet-5fps | int8 as shipped | {rates[1]:g} | 55.0 ± 7.1 | 90.0 ± 0.0 | 2 | 9 |" in text
    assert "| mobilenetv2-w0.35 | int8 as shipped | – | not run |" in text
