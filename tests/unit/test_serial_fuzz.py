"""The fuzzer of the serial line, for a moment: it builds, the committed inputs pass, and it finds more of them; that it
can fail is shown on a protocol that is broken on purpose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcugrad.resources import runtime_dir
from serial_fuzz import CORPUS, build, corpus, fuzz

SECONDS = 3


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("fuzz") / "fuzz"
    build(target)
    return target


def test_no_input_crashes_reads_out_of_bounds_or_changes_what_it_must_not(fuzzer: Path, tmp_path: Path) -> None:
    done = fuzz(fuzzer, tmp_path, SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert runs is not None
    assert int(runs[1]) > len(list(CORPUS.iterdir()))


def test_the_committed_inputs_are_those_that_are_described() -> None:
    assert {path.name: path.read_bytes() for path in CORPUS.iterdir()} == dict(corpus())


def test_a_step_that_is_done_twice_is_found(tmp_path: Path) -> None:
    source = (runtime_dir() / "src" / "serial.c").read_text(encoding="utf-8")
    right = "if (k->verb >= MG_VERB_READ) return mg_serial_execute"
    assert right in source
    (tmp_path / "serial.c").write_text(source.replace(right, "return mg_serial_execute"), encoding="utf-8")
    build(tmp_path / "fuzz", serial=tmp_path / "serial.c")
    done = fuzz(tmp_path / "fuzz", tmp_path, SECONDS)
    assert "deadly signal" in done.stderr
