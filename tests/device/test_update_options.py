"""`rounding` and `accumulate` of a scheme: Relax, the emitted C and an emulated core hold the same bytes, memory is as
predicted, and what was not chosen is not there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from frontend_graphs import Builder
from graphs import samples
from host_model import HostModel
from mcugrad.pipeline import Compiled, Options, compile_file
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session
from mcugrad.simulate.state import tensors
from mcugrad.simulate.vm import ReferenceTrainer

pytestmark = pytest.mark.device

Array = npt.NDArray[Any]
STEPS, SEED, RATE, CLASSES, RECORDS = 13, 9, 0.02, 3, 5
SCHEME = """
errors = "{errors}"
head = "{head}"
rounding = "{rounding}"
accumulate = {accumulate}
bias.last = 9
weight = {weight}
"""
SOME = "{ first = 1.0, depthwise = { outputs = [0, 3, 4] }, last = { inputs = [1, 4], outputs = [2, 0, 5] } }"
WHOLE = "{ first = 1.0, depthwise = 1.0, last = 1.0 }"


def network() -> onnx.ModelProto:
    """Dense, depthwise and pointwise convolutions, and a classifier."""
    b = Builder(seed=2)
    x = b.node("Relu", b.node("Conv", "x", b.random(5, 2, 3, 3, scale=0.3), b.random(5), name="first", pads=[1] * 4))
    x = b.node("Conv", x, b.random(5, 1, 2, 2), b.random(5), name="depthwise", group=5)
    x = b.node("Relu", b.node("Conv", x, b.random(6, 5, 1, 1, scale=0.5), b.random(6), name="last"))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model((1, 2, 5, 4), b.node("Gemm", x, b.random(6, CLASSES), b.random(CLASSES), name="head"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    onnx.save(network(), folder / "net.onnx")
    np.savez(folder / "calibration.npz", x=samples(network()))
    return folder / "net.onnx"


def _compile(source: Path, folder: Path, **choices: Any) -> tuple[Path, Compiled]:
    defaults = {"errors": "int8", "head": "float32", "rounding": "stochastic", "accumulate": 1, "weight": SOME}
    scheme = folder / "scheme.toml"
    scheme.write_text(SCHEME.format(**{**defaults, **choices}), encoding="utf-8")
    options = Options("mps2-an386", source.with_name("calibration.npz"), str(scheme))
    return folder / "out", compile_file(source, folder / "out", options, ["test"]).compiled


def _records(compiled: Compiled) -> Records:
    rng, model = np.random.default_rng(5), compiled.model
    x = np.clip(rng.normal(model.input_grid.zero_point, 55, (RECORDS, *model.input_shape)), -128, 127)
    return Records(x.astype(np.int8), np.arange(RECORDS) % CLASSES)


def _relax(compiled: Compiled, records: Records) -> tuple[Array, dict[str, Array]]:
    """Losses, and every tensor of the state."""
    assert compiled.step is not None
    trainer, losses = ReferenceTrainer(compiled.model, compiled.step), []
    for i in range(STEPS):
        x, label = records.x[i % RECORDS], np.array([records.y[i % RECORDS]], np.int32)
        losses.append(trainer.train_step(x, label, RATE, SEED, i))
    ratios = dict(zip((f"ratio {i}" for i in range(99)), trainer.ratios.values(), strict=False))
    return np.array(losses, np.float32), trainer.parameters | trainer.rests | ratios


def _tensors(folder: Path, state: bytes) -> dict[str, Array]:
    """The state by name, weights whole; error ratios by their number."""
    manifest, found = read_manifest(folder), dict[str, Array]()
    values = tensors(manifest, state)
    for row in manifest["state"]:
        if row["role"] == "error_ratio":
            found[f"ratio {sum(name.startswith('ratio ') for name in found)}"] = values[row["name"]]
        elif row["role"] != "bookkeeping":
            found[row["name"]] = values[row["name"]]
    return found


@pytest.mark.parametrize("head", ["float32", "int8"])
@pytest.mark.parametrize("errors", ["int8", "int16", "float32"])
@pytest.mark.parametrize(("rounding", "accumulate"), [("stochastic", 3), ("residual", 1)])
def test_relax_host_and_core_hold_the_same_bytes(
    source: Path, tmp_path: Path, rounding: str, accumulate: int, errors: str, head: str
) -> None:
    """After four applications and one sample more; one build of each option under every sanitizer."""
    choices = {"rounding": rounding, "accumulate": accumulate, "errors": errors, "head": head}
    folder, compiled = _compile(source, tmp_path, **choices)
    records = _records(compiled)
    losses, expected = _relax(compiled, records)
    session = Session(Mode.STEPS, CLASSES, records, steps=STEPS, learning_rate=RATE, seed=SEED)
    sanitize = (errors, head) == ("int8", "float32")
    core = build(folder, load_board("mps2-an386"))
    for firmware in (build(folder, load_board("host"), optimize="-O1", sanitize=sanitize), core):
        result = run_session(firmware, session)
        assert result.losses.tobytes() == losses.tobytes()
        found = _tensors(folder, result.state)
        assert {n: v.tobytes() for n, v in found.items()} == {n: expected[n].tobytes() for n in found}
        kept = {name for name in found if name.endswith((".residual", ".pending"))}
        assert kept == set(compiled.program.rests)
        assert all(found[name].any() for name in kept)
    predicted = read_manifest(folder)["predicted"]
    assert core.sizes.static == predicted["sram"]["static"]
    assert core.sizes.flash <= predicted["flash"]["total"]  # how close it is, test_flash.py asks


def test_a_run_may_stop_between_two_applications(source: Path, tmp_path: Path) -> None:
    """What waits is state: 4 steps and then 9 are 13."""
    folder, compiled = _compile(source, tmp_path, accumulate=3)
    firmware, records = build(folder, load_board("host"), optimize="-O1"), _records(compiled)
    whole = Session(Mode.STEPS, CLASSES, records, steps=STEPS, learning_rate=RATE, seed=SEED)
    first = run_session(firmware, replace(whole, steps=4, planned_steps=STEPS))
    rest = run_session(firmware, replace(whole, steps=STEPS - 4, first_step=4, state=first.state))
    assert any(v.any() for n, v in _tensors(folder, first.state).items() if n.endswith(".pending"))
    assert rest.state == run_session(firmware, whole).state


@pytest.mark.parametrize("errors", ["int8", "float32"])
def test_accumulated_samples_move_by_their_mean(source: Path, tmp_path: Path, errors: str) -> None:
    """Against a residual of the same samples, each at the factory's weights: both have 1/256 quantum."""
    k, hosts = 4, []
    for name, choices in (("summed", {"accumulate": 4}), ("single", {"rounding": "residual"})):
        (tmp_path / name).mkdir()
        _, compiled = _compile(source, tmp_path / name, errors=errors, weight=WHOLE, **choices)
        hosts.append(HostModel(compiled, tmp_path / name))
        hosts[-1].init()
        hosts[-1].plan(RATE, SEED)
    summed, single = hosts
    records, start, factory = _records(compiled), summed.state(), single.save()
    asked: list[dict[str, Array]] = []
    for i in range(k):
        label = np.array([records.y[i]], np.int32)
        assert all((summed.state()[p.name] == start[p.name]).all() for p in compiled.model.parameters)
        single.train_step(records.x[i], label)
        summed.train_step(records.x[i], label)
        asked.append(_moved(single, start))
        _restore_but_ratios(single, factory)
    for name, found in _moved(summed, start).items():
        mean = np.mean([step[name] for step in asked], axis=0)
        bound = 1e-6 if name.startswith("head") else (k + 0.5) / 256
        room = np.abs(start[name].astype(np.float64)) + np.max([np.abs(step[name]) for step in asked], axis=0)
        free = (room < 126) | (start[name].dtype != np.int8)
        assert free.mean() > 0.7, "one weight a channel is at the limit, of four in the depthwise layer"
        np.testing.assert_array_less(np.abs(found - mean)[free], bound + 1e-9, err_msg=name)
        assert np.abs(mean).max() > 4 * bound, f"{name} hardly moves"


def _moved(host: HostModel, start: dict[str, Array]) -> dict[str, Array]:
    """By how much every parameter has moved, in quanta, with what it keeps beside it."""
    state, moved = host.state(), {}
    for name in (p.name for p in host.model.parameters if p.name in state):
        moved[name] = state[name].astype(np.float64) - start[name]
        kept = next((state[f"{name}.{r}"] for r in ("residual", "pending") if f"{name}.{r}" in state), None)
        if kept is not None and kept.dtype != np.float32:  # the classifier's sum is gone once it is applied
            moved[name] += kept / 256
    return moved


def _restore_but_ratios(host: HostModel, saved: bytes) -> None:
    """The state as it was, but for what predicts the scales of errors."""
    state = bytearray(host.save())
    for field in host.layout.fields:
        if not field.buffer.name.endswith(".ratio"):
            end = field.offset + field.buffer.nbytes
            state[field.offset : end] = saved[field.offset : end]
    host.restore(bytes(state))


def test_with_accumulation_the_rounding_changes_nothing(source: Path, tmp_path: Path) -> None:
    """The sum keeps its rest in any case: the C is the same."""
    programs = []
    for rounding in ("stochastic", "residual"):
        (tmp_path / rounding).mkdir()
        folder, _ = _compile(source, tmp_path / rounding, rounding=rounding, accumulate=3)
        programs.append((folder / "net.c").read_bytes())
    assert programs[0] == programs[1]


@dataclass(frozen=True)
class Kept:
    """What an option adds to the state: the types of its tensors, by the parameter they belong to."""

    role: str
    weight: str
    bias: str
    head: str | None

    def rows(self) -> dict[str, tuple[str, list[int]]]:
        """Type and shape by name: for the trained channels only."""
        weights = {"first": [5, 2, 3, 3], "depthwise": [3, 1, 2, 2], "last": [3, 2, 1, 1]}
        biases = {"first": [5], "depthwise": [5], "last": [6]}
        rows = {f"{layer}.weight.{self.role}": (self.weight, shape) for layer, shape in weights.items()}
        rows |= {f"{layer}.bias.{self.role}": (self.bias, shape) for layer, shape in biases.items()}
        if self.head is not None:
            rows[f"head.weight.{self.role}"] = (self.head, [CLASSES, 6])
            rows[f"head.bias.{self.role}"] = (self.head, [CLASSES])
        return rows


@pytest.mark.parametrize(
    ("choices", "variant", "kept"),
    [
        ({}, "stochastic", None),
        ({"rounding": "residual"}, "residual", Kept("residual", "int8", "int8", None)),
        ({"accumulate": 2}, "accumulate", Kept("pending", "int16", "int32", "float32")),
    ],
)
def test_only_what_is_chosen_is_there(
    source: Path, tmp_path: Path, choices: dict[str, Any], variant: str, kept: Kept | None
) -> None:
    """State, and the kernels of one way to round."""
    folder, _ = _compile(source, tmp_path, **choices)
    rows = [r for r in read_manifest(folder)["state"] if r["role"] in ("residual", "pending")]
    assert {r["role"] for r in rows} == ({kept.role} if kept else set())
    assert {r["name"]: (r["dtype"], r["shape"]) for r in rows} == (kept.rows() if kept else {})
    assert all(r["name"].startswith(r["layer"]) for r in rows)
    files = {path.name for path in folder.iterdir()}
    infix = "" if variant == "stochastic" else f"{variant}_"
    expected = {f"round_{variant}.inc", f"conv2d_update_weight_{infix}s8.c", f"update_bias_{infix}s8.c"}
    templates = {"conv2d_update_weight.inc", "update_bias.inc"}
    found = {name for name in files if name.startswith(("round_", "conv2d_update_weight", "update_bias"))}
    assert found == expected | templates
    assert ("random.c" in files) == (variant != "residual")
    assert ("bool apply" in (folder / "net.c").read_text(encoding="utf-8")) == (variant == "accumulate")
