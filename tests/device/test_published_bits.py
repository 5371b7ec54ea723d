"""The same training gives the same bits on every build, core and the Relax VM: the first steps of each against the
record of `python -m tests.bench.proofs.bits`, all thousand on two. `--again` after a change of arithmetic."""

from __future__ import annotations

import pytest

from bench.proofs.bits import EXECUTIONS, HASHED, RELAX_STEPS, STEPS, TABLE, Training, read, table

HERE = {  # steps of each execution; the record has a thousand of all but the VM's
    "clang -O3": STEPS,
    "gcc -O2": STEPS,
    "gcc -O3": 25,
    "clang -O2": 25,
    "gcc -O0": 5,
    "clang -O0": 5,
    "Relax VM": RELAX_STEPS,
    "mps2-an386": 25,
    "mps2-an500": 25,
}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return Training.prepare(tmp_path_factory.mktemp("bits"))


@pytest.mark.device
@pytest.mark.parametrize("name", EXECUTIONS)
def test_hashes_are_those_of_the_record(training: Training, name: str) -> None:
    recorded = read()["gcc -O2"].hashes
    found = training.hashes_on(EXECUTIONS[name], HERE[name])
    assert list(found) == [str(steps) for steps in HASHED if steps <= HERE[name]]
    assert found == {steps: recorded[steps] for steps in found}


def test_the_record_is_the_same_everywhere() -> None:
    runs = read()
    assert list(runs) == list(EXECUTIONS)
    for name, run in runs.items():
        assert list(run.hashes) == [str(steps) for steps in HASHED if steps <= EXECUTIONS[name].steps]
        assert run.hashes == {steps: runs["gcc -O2"].hashes[steps] for steps in run.hashes}
    assert len(set(runs["gcc -O2"].hashes.values())) == len(HASHED)


def test_the_table_is_made_of_the_record() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(read())
