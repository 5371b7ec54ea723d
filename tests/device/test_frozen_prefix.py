"""A network cut in two: training behind the cached output of the frozen prefix is training, byte for byte; and what is
trained there, chained residual blocks with int8 errors, is what the Relax VM computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.accuracy.cut import cut
from bench.accuracy.integer import run_prefix, whole
from bench.accuracy.networks import NETWORKS, Network
from bench.accuracy.photographs import real
from emitted_models import quantised_input
from host_model import HostModel
from mcugrad.pipeline import Compiled, Options, compile_model, import_graph
from mcugrad.scheme import load_scheme
from mcugrad.simulate.vm import ReferenceTrainer

Array = npt.NDArray[Any]
STEPS, VM_STEPS, RATE, SEED = 20, 6, 0.004, 7


@dataclass(frozen=True)
class Halved:
    """The same samples for the whole network, `x`, and for the trained half of it, `features`."""

    network: Network
    full: Compiled
    suffix: Compiled
    x: Array
    features: Array


def _compiled(graph: Any, network: Network, name: str) -> Compiled:
    model = import_graph(graph, name, Options("host"), head="float32")
    return compile_model(model, load_scheme(str(network.scheme_file)))


@pytest.fixture(scope="module", params=NETWORKS)
def halved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Halved:
    network = NETWORKS[request.param]
    assert network.int8.is_file(), f"{network.int8} is missing: set MCUGRAD_SHARED to the folder that holds models/"
    graph = whole(network)
    halves = cut(graph, network.first)
    full, suffix = _compiled(graph, network, "full"), _compiled(halves.suffix, network, "suffix")
    images = np.random.default_rng(3).integers(0, 256, (STEPS, *full.model.input_shape[1:])).astype(np.uint8)
    features = run_prefix(halves, tmp_path_factory.mktemp("prefix"), images)
    return Halved(network, full, suffix, quantised_input(full.model, real(images)), features)


def _trained(compiled: Compiled, x: Array, folder: Path) -> tuple[list[float], dict[str, Array]]:
    """Losses and state after a step on each of x."""
    host = HostModel(compiled, folder)
    host.init()
    host.plan(RATE, SEED)
    return [host.train_step(x[i], _label(i)) for i in range(len(x))], host.state()


def _label(i: int) -> Array:
    return np.array([i % 10], np.int32)


def test_suffix_learns_the_same_bytes(halved: Halved, tmp_path_factory: pytest.TempPathFactory) -> None:
    losses, state = _trained(halved.full, halved.x, tmp_path_factory.mktemp("full"))
    suffix_losses, suffix_state = _trained(halved.suffix, halved.features, tmp_path_factory.mktemp("suffix"))
    assert suffix_losses == losses
    assert suffix_state.keys() == state.keys()
    different = [name for name, value in state.items() if suffix_state[name].tobytes() != value.tobytes()]
    assert not different
    start = {p.name: p.value for p in halved.full.model.parameters}
    assert all((state[name] != start[name]).any() for name in halved.full.selection.names)


def test_suffix_is_what_the_relax_vm_computes(halved: Halved, tmp_path: Path) -> None:
    losses, state = _trained(halved.suffix, halved.features[:VM_STEPS], tmp_path)
    assert halved.suffix.step is not None
    trainer = ReferenceTrainer(halved.suffix.model, halved.suffix.step)
    expected = [trainer.train_step(halved.features[i : i + 1], _label(i), RATE, SEED, i) for i in range(VM_STEPS)]
    assert losses == expected
    different = [n for n in halved.suffix.selection.names if (state[n] != trainer.parameters[n]).any()]
    assert not different
