"""What was learned survives: training that was saved, lost with the power and loaded again goes on bit for bit as if
nothing had happened, on this machine at every step, on an emulated core through resets in the middle of saves."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from firmware_support import EMULATED
from flash_simulator import DAMAGED, LOADED, OTHER_MODEL, SAVED, FlashLog, Simulator
from frontend_graphs import Builder
from graphs import samples
from host_model import HostModel
from mcugrad.pipeline import Compiled, Options, compile_file
from mcugrad.resources import targets_dir
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build, build_program
from mcugrad.simulate.run import run_program, run_session
from mcugrad.simulate.session import Mode, Records, Schedule, Session
from mcugrad.state_file import image_bytes, newest_state, parse_state, saved_state

pytestmark = pytest.mark.device

Array = npt.NDArray[Any]
CLASSES, RECORDS, SEED, RATE, STEPS = 3, 5, 9, 0.02, 9
SCHEME = 'errors = "{errors}"\nhead = "{head}"\nrounding = "{rounding}"\naccumulate = {accumulate}\nbias.last = 9\n'
WEIGHTS = "weight = { first = 1.0, depthwise = 1.0, last = { inputs = [1, 4], outputs = [2, 0, 5] } }\n"
DEFAULTS = {"errors": "int8", "head": "float32", "rounding": "stochastic", "accumulate": 1}
SCHEMES: list[dict[str, Any]] = [
    {},
    {"errors": "int16", "rounding": "residual"},
    {"errors": "float32", "head": "int8"},
    {"accumulate": 4},
    {"accumulate": 4, "head": "int8"},
]


def network(seed: int = 2) -> onnx.ModelProto:
    """Dense, depthwise and pointwise convolutions, and a classifier."""
    b = Builder(seed=seed)
    x = b.node("Relu", b.node("Conv", "x", b.random(5, 2, 3, 3, scale=0.3), b.random(5), name="first", pads=[1] * 4))
    x = b.node("Conv", x, b.random(5, 1, 2, 2), b.random(5), name="depthwise", group=5)
    x = b.node("Relu", b.node("Conv", x, b.random(6, 5, 1, 1, scale=0.5), b.random(6), name="last"))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model((1, 2, 5, 4), b.node("Gemm", x, b.random(6, CLASSES), b.random(CLASSES), name="head"))


def compiled_network(
    folder: Path, *, model: onnx.ModelProto | None = None, name: str = "net", **options: Any
) -> Compiled:
    """The network in folder/out; `options` are of the scheme or of compile."""
    scheme = {key: options.pop(key) for key in DEFAULTS if key in options}
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model or network(), folder / f"{name}.onnx")
    np.savez(folder / "calibration.npz", x=samples(network()))
    (folder / "scheme.toml").write_text(SCHEME.format(**{**DEFAULTS, **scheme}) + WEIGHTS, encoding="utf-8")
    chosen = Options("mps2-an386", folder / "calibration.npz", str(folder / "scheme.toml"))
    return compile_file(folder / f"{name}.onnx", folder / "out", replace(chosen, **options), ["test"]).compiled


def records(compiled: Compiled) -> Records:
    rng, model = np.random.default_rng(5), compiled.model
    x = np.clip(rng.normal(model.input_grid.zero_point, 55, (RECORDS, *model.input_shape)), -128, 127)
    return Records(x.astype(np.int8), np.arange(RECORDS) % CLASSES)


class Learner(HostModel):
    """A model of this machine beside a simulated flash."""

    def __init__(self, compiled: Compiled, folder: Path) -> None:
        super().__init__(compiled, folder)
        self.flash = Simulator(folder).library
        self.flash.nor_new(512, 12, 32)
        self.data = records(compiled)

    def power_on(self) -> int:
        """mg_load_t; whatever lay in RAM is gone."""
        ctypes.memset(self._base, 0xA5, self.layout.struct_bytes)
        self.init()
        self.log = FlashLog(flash=ctypes.addressof(ctypes.c_char.in_dll(self.flash, "nor_flash")))
        return int(self._call("load", ctypes.byref(self.log)))

    def save_state(self) -> int:
        """mg_save_t."""
        return int(self._call("save", ctypes.byref(self.log)))

    def learn(self, first: int, last: int) -> list[float]:
        """Steps first to last - 1 of the plan; their losses."""
        wanted = [np.array([y], np.int32) for y in self.data.y]
        return [self.train_step(self.data.x[i % RECORDS], wanted[i % RECORDS]) for i in range(first, last)]

    def state_bytes(self) -> bytes:
        return self.save()[: self.layout.state_bytes]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_training_resumed_at_any_step_equals_training_never_interrupted(tmp_path: Path, scheme: dict[str, Any]) -> None:
    learner = Learner(compiled_network(tmp_path, **scheme), tmp_path)
    learner.power_on()
    learner.plan(RATE, SEED)
    whole, wanted = learner.learn(0, STEPS), learner.state_bytes()
    for step in range(1, STEPS):
        learner.init()
        learner.plan(RATE, SEED)
        losses = learner.learn(0, step)
        assert learner.save_state() == SAVED
        assert learner.power_on() == LOADED
        assert learner.log.step == step
        assert (losses + learner.learn(step, STEPS), learner.state_bytes()) == (whole, wanted)


def test_a_load_that_finds_nothing_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    learner = Learner(compiled_network(tmp_path), tmp_path)
    learner.power_on()
    learner.plan(RATE, SEED)
    learner.learn(0, 3)
    assert learner.save_state() == SAVED
    before = learner.save()
    ctypes.memset(ctypes.addressof(ctypes.c_char.in_dll(learner.flash, "nor")), 0, 64)
    assert learner._call("load", ctypes.byref(learner.log)) == DAMAGED
    assert learner.save() == before


def test_the_flash_holds_a_state_file_of_the_model(tmp_path: Path) -> None:
    learner = Learner(compiled_network(tmp_path), tmp_path)
    learner.power_on()
    learner.plan(RATE, SEED)
    learner.learn(0, 3)
    assert learner.save_state() == SAVED
    cells = bytes((ctypes.c_uint8 * image_bytes(learner.layout.state_bytes)).in_dll(learner.flash, "nor"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert parse_state(cells, "slot") == replace(saved_state(manifest, learner.state_bytes()), sequence=1, erases=1)
    header = (tmp_path / "out" / "net.h").read_text(encoding="utf-8")
    assert f'#define NET_MODEL_HASH "{manifest["model_hash"]}"' in header


def model_hash(folder: Path, **options: Any) -> str:
    compiled_network(folder, **options)
    name = options.get("name", "net")
    manifest = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["name"] == name
    return str(manifest["model_hash"])


def test_the_model_hash_is_that_of_what_the_state_means(tmp_path: Path) -> None:
    plain = model_hash(tmp_path / "a")
    assert model_hash(tmp_path / "elsewhere" / "b", name="renamed", board="mps2-an500") == plain
    assert model_hash(tmp_path / "c", optimize="speed") == plain
    code = (
        f"import test_saved_state, pathlib; print(test_saved_state.model_hash(pathlib.Path({str(tmp_path / 'd')!r})))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == plain
    changes = [*SCHEMES[1:], {"model": network(seed=3)}, {"loss": "mse"}]
    different = [model_hash(tmp_path / f"e{i}", **change) for i, change in enumerate(changes)]
    assert len({plain, *different}) == 1 + len(changes)


def test_a_model_that_does_not_train_has_no_hash_and_no_flash(tmp_path: Path) -> None:
    compiled_network(tmp_path, train="none")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["model_hash"] is None
    assert not [p.name for p in (tmp_path / "out").glob("*.c") if "flash" in p.name]


# ---- on the emulated boards, whose flash is a file ------------------------------------------------------------

CUTS, EVERY, TOTAL = 128, 2, 200


class PowerOffError(Exception):
    """Somebody pulled the plug."""


class Device:
    """The firmware of power_cuts/main.c, the folder that it runs in, and its flash."""

    def __init__(self, folder: Path, objects: Path, board: str, **scheme: Any) -> None:
        self.compiled, self.objects = compiled_network(folder, **scheme), objects
        self.folder, self.storage = folder, folder / "flash, of a device.bin"
        self.data = records(self.compiled)
        model = ("MG_MODEL=net", "MG_MODEL_UPPER=NET", 'MG_MODEL_HEADER="net.h"')
        out, common = folder / "out", targets_dir() / "common"
        main = Path(__file__).parent / "power_cuts" / "main.c"
        sources = [*out.glob("*.c"), *out.glob("*.S"), main, common / "io_semihosting.c"]
        # Without a stack bound: its driver calls another by pointer, which looks like recursion.
        self.firmware = build_program(
            sources,
            load_board(board),
            build_dir=folder / "build",
            includes=(out,),
            defines=model,
            check_stack=False,
            objects=objects,
        )

    def begin(self, cuts: list[int]) -> None:
        """A fresh session; the flash keeps what it has."""
        self.plan(cuts)
        (self.folder / "cache.bin").write_bytes(bytes(4))

    def plan(self, cuts: list[int], last_save: int = 0) -> None:
        """What power-ons from now on do; after `last_save` saves of one it only waits."""
        padded = [*cuts, *[0] * (CUTS - len(cuts))]
        plan = struct.pack(f"<5I{CUTS}IfI", RECORDS, TOTAL, EVERY, SEED, len(cuts), *padded, RATE, last_save)
        (self.folder / "session.bin").write_bytes(plan + self.data.to_bytes())

    def run(self, **options: Any) -> list[str]:
        """To the end; the lines."""
        output = run_program(self.firmware, self.folder, storage=self.storage, timeout=300, **options)
        assert output.exit_code == 0, output
        return output.stdout.splitlines()

    def state(self) -> bytes:
        return (self.folder / "result.bin").read_bytes()

    def uninterrupted(self) -> bytes:
        """The state after the same steps in one session of this machine."""
        plan = {"learning_rate": RATE, "schedule": Schedule.COSINE, "seed": SEED, "steps": TOTAL}
        session = Session(Mode.STEPS, CLASSES, self.data, **plan)  # type: ignore[arg-type]
        return run_session(build(self.folder / "out", load_board("host"), objects=self.objects), session).state


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where kernels are kept from one firmware to the next."""
    return tmp_path_factory.mktemp("objects")


@pytest.mark.parametrize("board", EMULATED)
def test_a_core_that_is_reset_in_each_flash_operation_of_three_saves_learns_the_same(
    tmp_path: Path, objects: Path, board: str
) -> None:
    device = Device(tmp_path, objects, board, accumulate=3)
    wanted = device.uninterrupted()
    operations = 1 + image_bytes(len(wanted)) // 32 + 1  # a sector, the blocks of the image, the commit
    cuts = list(range(3 * operations))
    device.begin(cuts)
    lines = device.run()
    assert lines[-1] == f"@done {len(cuts)}"
    assert lines.count(f"@found {LOADED}") >= len(cuts) - operations
    assert device.state() == wanted


@pytest.mark.parametrize("board", ["mps2-an386", "qemu-riscv32"])
def test_a_device_whose_emulator_is_killed_again_and_again_learns_the_same(
    tmp_path: Path, objects: Path, board: str
) -> None:
    device = Device(tmp_path, objects, board)
    device.begin([])
    for kill in (1, 2, 5, 11, 3, 1):  # in the so many-th save of a power-on, or behind it
        device.plan([], last_save=kill)
        saves = 0

        def pull_the_plug(line: str, kill: int = kill) -> None:
            nonlocal saves
            saves += line.startswith("@saving")
            if saves == kill:
                raise PowerOffError

        with pytest.raises(PowerOffError):
            device.run(on_line=pull_the_plug)
    device.plan([])
    lines = device.run()
    assert lines[0] == f"@found {LOADED}"
    assert lines[-1] == "@done 6"
    assert device.state() == device.uninterrupted()
    assert newest_state(device.storage.read_bytes(), "its flash").state == device.state()


def test_another_models_states_are_refused_on_the_board(tmp_path: Path, objects: Path) -> None:
    one = Device(tmp_path / "one", objects, "mps2-an386")
    other = Device(tmp_path / "other", objects, "mps2-an386", accumulate=3)
    one.begin([])
    one.run()
    before = one.storage.read_bytes()
    other.storage = one.storage
    other.begin([])
    output = run_program(other.firmware, other.folder, storage=other.storage, timeout=300)
    assert (output.stdout.splitlines()[0], output.exit_code) == (f"@found {OTHER_MODEL}", 4)
    assert one.storage.read_bytes() == before
