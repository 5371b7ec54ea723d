"""What a training scheme does not need is not in the firmware: no kernel, no table, no state, no saved activation. Read
off the linker's map file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from graphs import imported, residual_2d
from mcugrad.emit.project import emit_project
from mcugrad.graph import Model
from mcugrad.pipeline import Loss, compile_model
from mcugrad.scheme import Bias, Channels, ErrorDtype, Rounding, Scheme
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build

pytestmark = pytest.mark.device
LAYERS = ("stem", "depthwise", "grouped", "dilated", "point", "wide", "last")
WEIGHTS, BIASES = ({f"{layer}.{what}" for layer in LAYERS} for what in ("weight", "bias"))
HEAD = {"head.weight", "head.bias"}  # float32: 12 x 5 weights, 5 biases
BOOKKEEPING, WATCH, COUNTERS = 20, 32, 8  # bytes of the state (plan, loss watch) and beside it, whatever trains

KERNELS = {  # what only training needs
    "schedule": r"mg_learning_rate",
    "cross entropy": r"mg_(softmax_cross_entropy|exp|log)_f32",
    "mse": r"mg_mse_f32",
    "head update": r"mg_dense_update_(\w+_)?f32",
    "head dgrad": r"mg_dense_dgrad_f32",
    "pool dgrad": r"mg_(global_)?avg_pool2d_dgrad",
    "dgrad": r"mg_(leaky_relu|max_pool2d|slice)_dgrad|mg_conv2d_dgrad_\w+",
    "weight update": r"mg_conv2d_update_weight_\w+",
    "bias update": r"mg_update_bias_\w+",
    "error store": r"mg_store\w*|mg_error_map",
    "scales": r"mg_scale_\w+|mg_absmax_f32|mg_pow2ceil_f32",
    "masks": r"mg_mask_bits",
    "random": r"mg_random_\w+",
    "int8 errors": r"mg_(conv2d_dgrad|conv2d_update_weight|update_bias)_(\w+_)?s8",
    "int16 errors": r"mg_(conv2d_dgrad|conv2d_update_weight|update_bias)_(\w+_)?s16",
    "float32 errors": r"mg_(conv2d_dgrad|conv2d_update_weight|update_bias)_(\w+_)?f32",
    "residual": r"mg_(conv2d_update_weight|update_bias)_residual_\w+",
    "accumulation": r"mg_(conv2d_update_weight|update_bias|dense_update)_accumulate_\w+",
}
HEAD_ONLY = {"schedule", "cross entropy", "head update"}
UPDATES = {"random", "int8 errors", "error store", "scales"}
BACK_TO_LAST = {"schedule", "cross entropy", "head dgrad", "pool dgrad", "masks"} | UPDATES
BACK_TO_STEM = BACK_TO_LAST | {"dgrad"}
ALL = BACK_TO_STEM | {"head update", "weight update", "bias update"}


def _everything(errors: ErrorDtype = "int8", rounding: Rounding = "stochastic", accumulate: int = 1) -> Scheme:
    weight: dict[str, float | Channels] = dict.fromkeys(LAYERS, 1.0)
    return Scheme(errors=errors, rounding=rounding, accumulate=accumulate, bias=Bias(last=99), weight=weight)


CASES: dict[str, tuple[str | Scheme, set[str], set[str]]] = {  # scheme, kernels that it needs, tensors that it trains
    "nothing": ("none", set(), set()),
    "head": ("head", HEAD_ONLY, HEAD),
    "biases": ("biases", BACK_TO_STEM | {"head update", "bias update"}, BIASES | HEAD),
    "one weight": (Scheme(head=False, weight={"last": 1.0}), BACK_TO_LAST | {"weight update"}, {"last.weight"}),
    "one bias": (Scheme(head=False, bias=Bias(last=1)), BACK_TO_LAST | {"bias update"}, {"last.bias"}),
    "first bias": (Scheme(head=False, bias=Bias(layers=("stem",))), BACK_TO_STEM | {"bias update"}, {"stem.bias"}),
    "all": ("all", ALL, WEIGHTS | BIASES | HEAD),
    "all, int16": (_everything("int16"), ALL - {"int8 errors"} | {"int16 errors"}, WEIGHTS | BIASES | HEAD),
    "all, float32": (
        _everything("float32"),
        ALL - {"int8 errors", "scales"} | {"float32 errors"},
        WEIGHTS | BIASES | HEAD,
    ),
    "all, residual": (_everything(rounding="residual"), ALL - {"random"} | {"residual"}, WEIGHTS | BIASES | HEAD),
    "all, accumulated": (_everything(accumulate=2), ALL | {"accumulation"}, WEIGHTS | BIASES | HEAD),
}


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, int]]:
    """The firmware of a case, built once."""
    model = imported(residual_2d())
    return cache(lambda case: _kept(model, CASES[case][0], tmp_path_factory.mktemp("linked")))


def _kept(model: Model, scheme: str | Scheme, folder: Path, loss: Loss = "cross_entropy") -> dict[str, int]:
    """Functions and objects of the linked firmware with their bytes."""
    compiled = compile_model(model, scheme, loss)
    project = emit_project(compiled.model, compiled.program, source="net.onnx", summary="Test.")
    for name, text in project.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps({"name": model.name}), encoding="utf-8")
    firmware = build(folder, load_board("mps2-an386"))
    text = firmware.elf.with_suffix(".map").read_text(encoding="utf-8").split("Linker script and memory map")[1]
    rows = re.findall(
        r"^ \.(?:text(?:\.hot|\.unlikely)?|rodata|data|bss)\.(\S+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) ", text, re.MULTILINE
    )
    return {name: int(size, 16) for name, size in rows if int(size, 16)}


def _groups(kept: dict[str, int]) -> set[str]:
    return {group for group, names in KERNELS.items() if any(re.fullmatch(names, name) for name in kept)}


def _tensors(kept: dict[str, int], suffix: str) -> set[str]:
    """Parameters that have a table of that name."""
    found = (re.fullmatch(rf"net_([a-z]+)_(weight|bias){suffix}", name) for name in kept)
    return {f"{match[1]}.{match[2]}" for match in found if match}


@pytest.mark.parametrize("case", CASES)
def test_only_what_the_scheme_needs_is_linked(linked: Callable[[str], dict[str, int]], case: str) -> None:
    _, kernels, trained = CASES[case]
    kept = linked(case)
    assert _groups(kept) == kernels
    assert _tensors(kept, "_factory") == trained
    assert _tensors(kept, "_qas") == trained - HEAD
    assert _tensors(kept, "") == (WEIGHTS | BIASES | HEAD) - trained  # a trained one lies in flash once
    assert ("net_train_step" in kept) == bool(trained)


def test_regression_on_integers_needs_no_softmax_and_no_float_classifier(tmp_path: Path) -> None:
    kept = _kept(imported(residual_2d(), float_head=False), "all", tmp_path, "mse")
    assert _groups(kept) == ALL - {"cross entropy", "head update", "head dgrad"} | {"mse"}


def test_short_backward_passes_keep_no_activation_of_the_layers_before(linked: Callable[[str], dict[str, int]]) -> None:
    """The firmware's struct grows by what trains, its scales and the counters; the arena is that of inference."""
    sizes = {case: linked(case)["mg_firmware"] for case in ("nothing", "head", "one weight")}
    always = BOOKKEEPING + WATCH + COUNTERS
    assert 0 <= sizes["head"] - sizes["nothing"] - (always + 4 * (12 * 5 + 5)) < 8  # aligned to 8
    weights, scales = 12 * 6 * 3 * 3, 2  # of the sum over the image, and of the weight's layer; each has a ratio too
    assert 0 <= sizes["one weight"] - sizes["nothing"] - (always + weights + scales * 8) < 8
