"""The gradients of every published network in the emitted C, against float64 reverse mode: fewer samples than
`python -m tests.bench.proofs.gradients` takes, the same bounds."""

from __future__ import annotations

import functools

import pytest

from bench.proofs.gradients import ERRORS, IMAGES, LEAST_MEAN, TABLE, measure, read, table
from bench.proofs.networks import NETWORKS
from mcugrad.graph import Model
from mcugrad.scheme import resolve

SAMPLES = {"autoencoder": 16}  # the first of the 32 that the command takes
FEW = 4  # for the others; random spectra differ more from each other than photographs and keywords
LOSS_DIFFERENCE = 1e-5  # relative; float32 in the classifier and the loss


@functools.lru_cache(1)
def _model(network: str) -> Model:
    return NETWORKS[network].model()


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_of_the_emitted_step_are_true(network: str, errors: str) -> None:
    run = measure(NETWORKS[network], _model(network), errors, SAMPLES.get(network, FEW))
    assert run.largest_loss_difference < LOSS_DIFFERENCE
    assert {t.name: t.mean for t in run.tensors if t.mean < LEAST_MEAN[errors]} == {}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_record_covers_every_trained_tensor(network: str) -> None:
    runs = {run.errors: run for run in read() if run.network == network}
    assert set(runs) == set(ERRORS)
    trained = resolve(NETWORKS[network].training_scheme("int8"), _model(network)).names
    for errors, run in runs.items():
        assert run.samples >= IMAGES >= 32
        assert tuple(t.name for t in run.tensors) == trained
        assert run.lowest.mean >= LEAST_MEAN[errors]


def test_the_table_is_made_of_the_record() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(read())
