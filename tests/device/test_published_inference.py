"""The published int8 networks compute what onnxruntime computes, end to end: fewer photographs than
`python -m tests.bench.proofs.inference` takes, and the emulated cores beside the host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bench.proofs.inference import (
    PHOTOGRAPHS,
    QUANTISED,
    TABLE,
    Ours,
    measure,
    photographs,
    read,
    table,
)
from bench.proofs.networks import NETWORKS, Array, pixels, real
from bench.proofs.onnxruntime_forms import FORMS, OnnxRuntime
from firmware_support import EMULATED
from mcugrad import frontend
from mcugrad.pipeline import Options, compile_file
from mcugrad.samples import quantize_samples
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session

FEW = 8
ON_A_CORE = 2
CLASSES = 10


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ours:
    return Ours(QUANTISED, tmp_path_factory.mktemp("networks"))


@pytest.mark.parametrize("network", QUANTISED)
def test_logits_of_a_thousand_classes_are_those_of_the_integer_operators(ours: Ours, network: str) -> None:
    run = measure(ours, network, "integer", FEW)
    assert (run.identical_logits, run.first) == (1.0, {})


@pytest.mark.device
@pytest.mark.parametrize("network", QUANTISED)
def test_cores_compute_it_too(network: str, tmp_path: Path) -> None:
    """Ten classes, since a thousand do not fit: int8 to the last layer, which is float32 and drawn at random."""
    graph = _ten_classes(network)
    onnx.save(graph, tmp_path / "net.onnx")
    compile_file(tmp_path / "net.onnx", tmp_path / "net", Options("mps2-an386"), ["test"])
    x = real(pixels(photographs(ON_A_CORE)))
    records = Records(quantize_samples(x, read_manifest(tmp_path / "net")), np.zeros(len(x), np.int64))
    session = Session(Mode.PREDICT, CLASSES, test=records)
    host, *cores = (run_session(build(tmp_path / "net", load_board(b)), session) for b in ("host", *EMULATED))
    for core in cores:
        assert core.outputs.tobytes() == host.outputs.tobytes()
    theirs = OnnxRuntime(graph, "integer")
    expected = np.stack([theirs.logits(sample[None]) for sample in x])
    np.testing.assert_allclose(host.outputs, expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(expected)) == expected.size


def _ten_classes(network: str) -> onnx.ModelProto:
    graph = frontend.replace_classifier(frontend.prepare(frontend.load_model(NETWORKS[network].path)), CLASSES)
    random = np.random.default_rng(0)
    for tensor in graph.graph.initializer:
        if tensor.name in ("head.weight", "head.bias"):
            values: Array = random.normal(0, 0.1, list(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return graph


@pytest.mark.parametrize("network", QUANTISED)
def test_the_record_holds_every_network(network: str) -> None:
    """Equality with the integer operators; where onnxruntime leaves some in float32, one of those is what differs."""
    runs = {run.form: run for run in read() if run.network == network}
    assert set(runs) == set(FORMS)
    for run in runs.values():
        assert run.photographs >= PHOTOGRAPHS >= 500
        assert sum(run.first.values()) == round(run.photographs * (1 - run.identical_photographs))
    assert runs["integer"].identical_logits == runs["integer"].identical_argmax == 1.0
    assert {layer.partition(": ")[2] for layer in runs["default"].first} <= {"Conv in float32", "Add in float32"}


def test_the_table_is_made_of_the_record() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(read())
