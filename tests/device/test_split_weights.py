"""Weights of which a part trains: Relax, the host and an emulated core hold the same bytes, and of the frozen part SRAM
holds nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from cli_support import Terminal, terminal
from frontend_graphs import Builder
from graphs import samples
from mcugrad.pipeline import Options, compile_file, import_file
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session
from mcugrad.simulate.state import tensors
from mcugrad.simulate.vm import ReferenceTrainer

__all__ = ["terminal"]
pytestmark = pytest.mark.device

STEPS, SEED, RATE, CLASSES = 12, 9, 0.02, 3
SCHEME = """
bias.last = 3
weight = { first = 0.5, expand = 0.4, project = 0.7, last = { inputs = [0, 2] } }
"""
HELD = {"first.weight": (7, 4, 3, 2), "expand.weight": (14, 4, 1, 1), "project.weight": (7, 10, 1, 1)}
HELD |= {"last.weight": (9, 2, 1, 1)}


def _network() -> onnx.ModelProto:
    """A window that trains 3 of 6 input channels; a bottleneck and a 1x1 that train 3 of 7, 10 of 14 and 2 of 7."""
    b = Builder(seed=2)
    x = b.node("Relu", b.node("Conv", "x", b.random(6, 2, 1, 1), b.random(6), name="stem"))
    x = b.node("Conv", x, b.random(7, 6, 3, 2, scale=0.3), b.random(7), name="first", strides=[2, 1])
    y = b.node("Relu", b.node("Conv", x, b.random(14, 7, 1, 1, scale=0.4), b.random(14), name="expand"))
    x = b.node("Add", x, b.node("Conv", y, b.random(7, 14, 1, 1, scale=0.3), b.random(7), name="project"))
    x = b.node("Relu", b.node("Conv", x, b.random(9, 7, 1, 1, scale=0.4), b.random(9), name="last"))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model((1, 2, 9, 6), b.node("Gemm", x, b.random(9, CLASSES), b.random(CLASSES), name="head"))


def _write(folder: Path) -> Options:
    """Network, samples and scheme in `folder`."""
    model, x = _network(), samples(_network())
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "data.npz", x=x, y=np.arange(len(x)) % CLASSES)
    (folder / "scheme.toml").write_text(SCHEME, encoding="utf-8")
    return Options("mps2-an386", folder / "data.npz", str(folder / "scheme.toml"))


def test_relax_host_and_core_hold_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    compiled = compile_file(tmp_path / "net.onnx", folder, _write(tmp_path), ["test"]).compiled
    model, rng = compiled.model, np.random.default_rng(5)
    x = np.clip(rng.normal(0, 55, (STEPS, *model.input_shape)), -128, 127).astype(np.int8)
    records = Records(x, np.arange(STEPS) % CLASSES)
    assert compiled.step is not None
    trainer, losses = ReferenceTrainer(model, compiled.step), []
    for i in range(STEPS):
        losses.append(trainer.train_step(records.x[i], np.array([records.y[i]], np.int32), RATE, SEED, i))
    session = Session(Mode.STEPS, CLASSES, records, steps=STEPS, learning_rate=RATE, seed=SEED)
    manifest, core = read_manifest(folder), build(folder, load_board("mps2-an386"))
    for firmware in (build(folder, load_board("host"), optimize="-O1", sanitize=True), core):
        result = run_session(firmware, session)
        assert result.losses.tobytes() == np.array(losses, np.float32).tobytes()
        found = tensors(manifest, result.state)
        for name in compiled.selection.names:
            np.testing.assert_array_equal(found[name], trainer.parameters[name], err_msg=name)
            assert (found[name] != model.parameter(name).value).any()
    assert {n: tuple(r["shape"]) for r in manifest["state"] if (n := r["name"]) in HELD} == HELD
    assert core.sizes.static == manifest["predicted"]["sram"]["static"]


def test_what_was_learned_is_saved_whole_and_in_the_order_of_the_onnx_file(terminal: Terminal) -> None:
    options = _write(terminal.folder)
    terminal.succeeds("compile", "net.onnx", "-o", "out", "--data", "data.npz", "--train", "scheme.toml")
    terminal.succeeds("run", "out", "--train", "data.npz", "--epochs", "1", "--lr", "0.05", "--save", "w.npz")
    factory, saved = (
        import_file(terminal.folder / "net.onnx", options, head="float32"),
        np.load(terminal.folder / "w.npz"),
    )
    trains = {"first": [0, 1, 2], "expand": [0, 1, 2], "project": range(10), "last": [0, 2]}
    for layer, channels in trains.items():
        before, after = factory.parameter(f"{layer}.weight").value, saved[f"{layer}.weight"]
        assert np.flatnonzero((before != after).any(axis=(0, 2, 3))).tolist() == list(channels), layer
