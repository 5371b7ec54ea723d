"""What a device learned is a network again: onnxruntime computes the device's outputs on it, and compiling it makes a
device that knows as much. States of several devices average weight by weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

import quantiser
from bench.proofs.onnxruntime_forms import integer_operators
from cli_support import Terminal, terminal
from frontend_graphs import Builder
from mcugrad.pipeline import Options, compile_file
from mcugrad.samples import quantize_samples
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session
from mcugrad.simulate.state import in_onnx_order, tensors
from mcugrad.state_file import SavedState, read_state, saved_state, write_state
from mcugrad.trained import merge, trained_onnx

__all__ = ["terminal"]
pytestmark = pytest.mark.device
Array = npt.NDArray[Any]
CLASSES, STEPS = 4, 30
ALL = 'head = {head}\n[bias]\nlast = 9\n[weight]\n"stem" = 1.0\n"depthwise" = 1.0\n"point" = {point}\n'
SIGNED = quantiser.Options("QDQ", "QInt8", False, True)


@dataclass(frozen=True)
class Case:
    """A residual network as onnxruntime quantises it, and how it trains."""

    head: str = "true"
    point: str = "1.0"
    more: str = ""  # lines of the scheme
    classes: int | None = None
    quantised: quantiser.Options = SIGNED

    def compile(self, folder: Path) -> Path:
        """The compiled folder, model.onnx and scheme.toml beside it."""
        float_model = _network()
        x = quantiser.samples(float_model, 0, 16)
        onnx.save(quantiser.quantized(float_model, x, self.quantised), folder / "model.onnx")
        (folder / "scheme.toml").write_text(self.more + ALL.format(head=self.head, point=self.point))
        return _compile(folder / "model.onnx", folder / "scheme.toml", folder / "model", self.classes)


CASES = {
    "float32 head": Case(),
    "int8 head": Case(head='"int8"'),
    "another head": Case(classes=3),
    "another head in int8": Case(head='"int8"', classes=3),
    "half of the inputs": Case(point="0.5"),
    "channels that are listed": Case(point="{ inputs = [1, 4, 6], outputs = [0, 2, 3, 7] }"),
    "residual": Case(more='rounding = "residual"\n'),
    "uint8 weights with zero points": Case(quantised=quantiser.Options("QDQ", "QUInt8", False, False, "QUInt8", True)),
}


def _network() -> onnx.ModelProto:
    """(1, 3, 9, 8) -> (1, 4): strides, asymmetric pads, a layer without a bias, a residual sum."""
    b = Builder(seed=2)
    x = b.node(
        "Conv", "x", b.random(8, 3, 3, 3, scale=0.3), b.random(8), name="stem", strides=[2, 2], pads=[1, 0, 0, 1]
    )
    x = b.node("Relu", x, name="stem.relu")
    y = b.node("Conv", x, b.random(8, 1, 3, 3, scale=0.4), name="depthwise", group=8, pads=[1, 1, 1, 1])
    y = b.node("Relu", y, name="depthwise.relu")
    y = b.node("Conv", y, b.random(8, 8, 1, 1, scale=0.4), b.random(8), name="point")
    x = b.node("GlobalAveragePool", b.node("Add", x, y, name="sum"), name="mean")
    head = b.node("Gemm", b.node("Flatten", x, name="flat"), b.random(8, CLASSES), b.random(CLASSES), name="head")
    return b.model((1, 3, 9, 8), head)


def _compile(source: Path, scheme: Path, folder: Path, classes: int | None = None) -> Path:
    compile_file(source, folder, Options("mps2-an386", train=str(scheme), classes=classes), ["test"])
    return folder


def _learn(folder: Path, seed: int = 0, state: bytes = b"") -> bytes:
    """The state after some steps on random samples."""
    outputs = int(np.prod(read_manifest(folder)["output"]["shape"]))
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (STEPS, *read_manifest(folder)["input"]["shape"][1:])).astype(np.int8)
    records = Records(x, rng.integers(0, outputs, STEPS))
    session = Session(Mode.STEPS, outputs, train=records, steps=STEPS, learning_rate=0.01, seed=seed, state=state)
    return run_session(build(folder, load_board("host")), session).state


def _factory(folder: Path) -> bytes:
    """The state that the device begins with."""
    manifest = read_manifest(folder)
    records = Records(np.zeros((1, *manifest["input"]["shape"][1:]), np.int8), np.zeros(1, np.int64))
    session = Session(Mode.PREDICT, int(np.prod(manifest["output"]["shape"])), test=records)
    return run_session(build(folder, load_board("host")), session).state


def _with_weights(manifest: dict[str, Any], state: bytes, weights: bytes) -> bytes:
    """`state` with the parameters of `weights`."""
    found = bytearray(state)
    for row in manifest["state"]:
        if row["role"] in ("weight", "bias", "float_weight", "float_bias"):
            end = row["offset"] + int(np.prod(row["shape"])) * np.dtype(row["dtype"]).itemsize
            found[row["offset"] : end] = weights[row["offset"] : end]
    return bytes(found)


def _outputs(folder: Path, x: Array, state: bytes = b"") -> Array:
    """The device's, of samples as the ONNX graph wants them."""
    manifest = read_manifest(folder)
    records = Records(quantize_samples(x, manifest), np.zeros(len(x), np.int64))
    outputs = int(np.prod(manifest["output"]["shape"]))
    result = run_session(build(folder, load_board("host")), Session(Mode.PREDICT, outputs, test=records, state=state))
    return result.outputs.reshape(len(x), outputs)


def _onnxruntime(model: onnx.ModelProto, x: Array) -> Array:
    """By its integer operators."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(integer_operators(model).SerializeToString(), options)
    (name,) = (i.name for i in session.get_inputs())
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in x])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_onnxruntime_computes_the_devices_outputs_and_a_compilation_its_bits(case: Case, tmp_path: Path) -> None:
    folder = case.compile(tmp_path)
    state = _learn(folder)
    model = trained_onnx(folder, read_manifest(folder), state)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "trained.onnx")
    x = quantiser.samples(_network(), 1, 20)
    device = _outputs(folder, x, state)
    assert not np.array_equal(device, _outputs(folder, x)), "nothing was learned"
    assert np.allclose(_onnxruntime(model, x), device, rtol=1e-5, atol=1e-5)
    again = _compile(tmp_path / "trained.onnx", tmp_path / "scheme.toml", tmp_path / "again")
    assert _outputs(again, x).tobytes() == device.tobytes()
    rest = _with_weights(read_manifest(folder), _factory(folder), state)
    later, here = (in_onnx_order(read_manifest(f), _learn(f, 1, s)) for f, s in ((again, b""), (folder, rest)))
    assert {name: value.tobytes() for name, value in later.items()} == {n: v.tobytes() for n, v in here.items()}


# ---- the mean of several ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Case(point="0.5").compile(tmp_path_factory.mktemp("merge"))


@pytest.fixture(scope="module")
def states(compiled: Path) -> list[SavedState]:
    manifest = read_manifest(compiled)
    return [saved_state(manifest, _learn(compiled, seed)) for seed in range(3)]


def test_a_state_merged_with_itself_is_itself(compiled: Path, states: list[SavedState]) -> None:
    assert merge(read_manifest(compiled), [states[0]] * 3, [1, 5, 0.1]).state == states[0].state


def test_the_mean_is_taken_weight_by_weight(compiled: Path, states: list[SavedState]) -> None:
    manifest, shares = read_manifest(compiled), np.array([3, 1, 1]) / 5
    merged = tensors(manifest, merge(manifest, states, [3, 1, 1]).state)
    parts = [tensors(manifest, s.state) for s in states]
    for row in manifest["state"]:
        mean = sum(share * p[row["name"]].astype(np.float64) for share, p in zip(shares, parts, strict=True))
        if row["role"] in ("weight", "bias"):
            assert np.abs(merged[row["name"]] - mean).max() <= 0.5 + 1e-9, row["name"]
        elif row["role"].startswith("float"):
            assert np.allclose(merged[row["name"]], mean, rtol=1e-6)
        elif row["role"] == "bookkeeping":
            assert merged[row["name"]].tobytes() == parts[0][row["name"]].tobytes()


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0, 1.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0]])
def test_weights_are_positive_and_one_a_state(compiled: Path, states: list[SavedState], weights: list[float]) -> None:
    from mcugrad.errors import McugradError

    with pytest.raises(McugradError, match=f"{len(weights)} weights for 3 states"):
        merge(read_manifest(compiled), states, weights)


# ---- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(terminal: Terminal, compiled: Path, states: list[SavedState]) -> Terminal:
    """a.state, b.state, c.state beside the compiled folder `m`."""
    (terminal.folder / "m").symlink_to(compiled)
    for name, state in zip("abc", states, strict=True):
        write_state(terminal.folder / f"{name}.state", state)
    return terminal


def test_states_are_pulled_and_merged(fleet: Terminal, compiled: Path, states: list[SavedState]) -> None:
    weights = [word for w in "311" for word in ("--weight", w)]
    said = fleet.succeeds("merge", *(f"{n}.state" for n in "abc"), "-o", "all.state", "--model", "m", *weights)
    assert "the mean of 3 states of model 'model'" in said
    merged = read_state(fleet.folder / "all.state", read_manifest(compiled))
    assert merged == replace(merge(read_manifest(compiled), states, [3, 1, 1]), sequence=0)
    fleet.succeeds("pull", "all.state", "-o", "all.onnx")
    assert onnx.load(fleet.folder / "all.onnx") == trained_onnx(compiled, read_manifest(compiled), merged.state)
    fleet.succeeds("pull", "all.state", "--model", "m", "-o", "all.npz")
    assert np.load(fleet.folder / "all.npz")["state"].tobytes() == merged.state
    fleet.succeeds("pull", "all.npz", "--model", "m", "-o", "again.state")
    assert (fleet.folder / "again.state").read_bytes() == (fleet.folder / "all.state").read_bytes()


def test_what_cannot_be_pulled_or_merged_is_said(fleet: Terminal, states: list[SavedState]) -> None:
    foreign = replace(states[0], model_hash=bytes(16), model_name="toaster")
    write_state(fleet.folder / "foreign.state", foreign)
    (fleet.folder / "short.state").write_bytes((fleet.folder / "a.state").read_bytes()[:100])
    (fleet.folder / "there.state").write_bytes(b"mine")
    np.savez(fleet.folder / "other.npz", x=np.zeros(3))
    earlier = np.frombuffer(states[0].state, np.uint8)  # of a compilation that has been replaced in its folder
    np.savez(fleet.folder / "earlier.npz", state=earlier, model_hash=np.zeros(16, np.uint8))
    (fleet.folder / "empty.npz").write_bytes(b"")
    with (fleet.folder / "array.npz").open("wb") as file:
        np.save(file, earlier)
    np.savez(fleet.folder / "unnamed.npz", state=earlier)  # as mcugrad wrote them once
    model = ("--model", "m")
    assert "is a state of model 'toaster'" in fleet.refuses("pull", "foreign.state", "-o", "f.onnx", *model)
    assert "is a state of model 'toaster'" in fleet.refuses(
        "merge", "a.state", "foreign.state", "-o", "f.state", *model
    )
    assert "copy it again" in fleet.refuses("pull", "short.state", "-o", "f.onnx", *model)
    assert "there.state exists" in fleet.refuses("merge", "a.state", "b.state", "-o", "there.state", *model)
    assert "other.npz holds no trained state" in fleet.refuses("pull", "other.npz", "-o", "f.onnx", *model)
    assert "(hash 00000000), not of 'model'" in fleet.refuses("pull", "earlier.npz", "-o", "f.onnx", *model)
    assert "empty.npz holds no trained state" in fleet.refuses("pull", "empty.npz", "-o", "f.onnx", *model)
    assert "array.npz holds no trained state" in fleet.refuses("pull", "array.npz", "-o", "f.onnx", *model)
    assert "unnamed.npz has a state but no array 'model_hash'" in fleet.refuses(
        "pull", "unnamed.npz", "-o", "f.onnx", *model
    )
    assert "cannot be read" in fleet.refuses("pull", "nothing.state", "-o", "f.onnx", *model)
    assert "ends in .onnx" in fleet.refuses("pull", "a.state", "-o", "f.h5", *model)
    assert "give two or more" in fleet.refuses("merge", "a.state", "-o", "f.state", *model)
    assert "--model DIR" in fleet.refuses("pull", "foreign.state", "-o", "f.onnx")
    assert "--model DIR" in fleet.refuses("pull", "other.npz", "-o", "f.onnx")
    assert "1 weights for 2 states" in fleet.refuses(
        "merge", "a.state", "b.state", "-o", "f.state", "--weight", "2", *model
    )
