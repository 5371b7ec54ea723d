"""The published networks fit, boot and train on both emulated boards, with the bits of the host build, and execute no
more instructions than they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import baseline
from bench.networks import BOARDS, GUARDED, Network
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session

pytestmark = pytest.mark.device
STEPS = 3  # the first runs every error kernel twice


def _records(folder: Path, network: Network) -> Records:
    manifest, random = read_manifest(folder), np.random.default_rng(1)
    x = random.integers(-128, 128, (STEPS, *manifest["input"]["shape"][1:])).astype(np.int8)
    outputs = int(np.prod(manifest["output"]["shape"]))
    if network.loss == "mse":
        return Records(x, random.standard_normal((STEPS, outputs)).astype(np.float32))
    return Records(x, random.integers(0, outputs, STEPS))


@pytest.fixture(scope="module", params=GUARDED, ids=lambda n: n.name)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    network: Network = request.param
    folder = tmp_path_factory.mktemp("published") / "model"
    network.compile(folder)
    return network, folder


def test_trains_on_every_board_with_equal_bits(compiled: tuple[Network, Path]) -> None:
    network, folder = compiled
    records, manifest = _records(folder, network), read_manifest(folder)
    outputs = int(np.prod(manifest["output"]["shape"]))
    results = []
    for name in ("host", *BOARDS):
        board = load_board(name)
        firmware = build(folder, board)
        if board.memory is not None:
            assert firmware.sizes.static == manifest["predicted"]["sram"]["static"]
        session = Session(Mode.STEPS, outputs, train=records, steps=STEPS, learning_rate=0.003, seed=5)
        results.append(run_session(firmware, session))
    host, *cores = results
    assert np.isfinite(host.losses).all()
    for core in cores:
        assert core.same_as(host)
        assert core.stack_high_water <= 4096


def test_is_no_slower_and_no_larger_than_it_was(compiled: tuple[Network, Path]) -> None:
    network, folder = compiled
    assert baseline.grown(baseline.of_network(network, folder), baseline.known()["networks"][network.name], "") == []


def test_no_kernel_executes_more_instructions_than_it_did() -> None:
    assert baseline.grown(baseline.of_kernels(), baseline.known()["kernels"], "") == []


def test_the_guard_notices_three_percent() -> None:
    before = baseline.known()["networks"]["watch"]["mps2-an386"]
    more = {name: count * 103 // 100 for name, count in before["flash"].items()}
    slower = {name: before[name] * 103 // 100 for name in ("forward", "step")}
    assert len(baseline.grown({**slower, "flash": more}, before, "watch")) == 4
    assert baseline.grown(before, before, "watch") == []
    larger = baseline.grown({**before, "flash": {**before["flash"], "code": more["code"]}}, before, "watch")
    assert [line.partition(": ")[0] for line in larger] == ["watch, flash, code"]
    assert f"{more['code']:,} bytes" in larger[0]
