"""Pictures are deterministic and honest about their input; tables say what matters in words and figures."""

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console, RenderableType

from mcugrad.errors import McugradError
from mcugrad.report import tables
from mcugrad.report.arena_manifest import arena_budget, arena_calls, arena_tensors, draw_manifest
from mcugrad.report.arena_picture import Call, Tensor, draw_arena
from mcugrad.report.numbers import bytes_text, count_text, share_text

TENSORS = [
    Tensor("x", "input", 0, 600, 0, 0),
    Tensor("conv1", "activation", 600, 1200, 0, 3),
    Tensor("dconv1", "error", 0, 400, 2, 3),
    Tensor("unknown", "thing", 400, 8, 2, 2),
    Tensor("empty", "scratch", 0, 0, 1, 1),
]
CALLS = [Call("conv1", "forward"), Call("head", "forward"), Call("head", "backward"), Call("conv1", "backward")]


def _text(view: RenderableType) -> str:
    console = Console(width=160, record=True, force_terminal=False, file=io.StringIO())
    console.print(view)
    return console.export_text()


@pytest.mark.parametrize("suffix", [".svg", ".png"])
@pytest.mark.parametrize("budget", [2000, 262144, 0])
def test_a_picture_is_the_same_twice(tmp_path: Path, suffix: str, budget: int) -> None:
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        draw_arena(path, "watch", TENSORS, CALLS, 1800, budget)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) > 5000
    if suffix == ".svg":
        ElementTree.fromstring(first)


def test_more_calls_than_labels_and_no_calls_at_all(tmp_path: Path) -> None:
    many = [Call(f"call{i}", "forward" if i < 60 else "backward") for i in range(120)]
    draw_arena(tmp_path / "many.svg", "many", [Tensor("a", "activation", 0, 64, 0, 119)], many, 64, 64)
    draw_arena(tmp_path / "none.svg", "none", [], [], 0, 262144)


MANIFEST: dict[str, Any] = {
    "name": "watch",
    "loss": "mse",
    "arena_bytes": 24,
    "predicted": {"sram": {"arena": 24, "static": 100, "stack": 50, "total": 150}},
    "tensors": [
        {"name": "x", "kind": "input", "bytes": 16, "offset": 8, "lifetime": [0, 1]},
        {"name": "x.view", "kind": "input", "bytes": 16, "offset": 8, "lifetime": [0, 1], "shares_bytes_of": "x"},
        {"name": "fc.weight", "kind": "state", "bytes": 4},
        {"name": "fc.e", "kind": "error", "bytes": 8, "offset": 0, "lifetime": [1, 2]},
    ],
    "calls": [
        {"layer": "fc", "work": "forward", "phase": "forward", "writes": []},
        {"layer": "fc", "work": "other", "phase": "backward", "writes": ["fc.e"]},
        {"layer": "fc", "work": "wgrad", "phase": "backward", "writes": ["fc.weight"]},
    ],
}


def test_a_manifest_becomes_a_picture(tmp_path: Path) -> None:
    assert arena_tensors(MANIFEST) == [Tensor("x", "input", 8, 16, 0, 1), Tensor("fc.e", "error", 0, 8, 1, 2)]
    assert [call.label for call in arena_calls(MANIFEST)] == ["fc", "fc error", "fc update"]
    assert arena_budget(MANIFEST, 1000) == 1000 - 126
    draw_manifest(tmp_path / "a.svg", MANIFEST, ram_bytes=1000)
    draw_manifest(tmp_path / "b.svg", MANIFEST, ram_bytes=1000)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(McugradError, match=r"\.svg or \.png, not 'a\.pdf'"):
        draw_arena(tmp_path / "a.pdf", "a", TENSORS, CALLS, 1800, 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (640, "640 B"),
        (1024, "1 KB"),
        (5872, "5.73 KB"),
        (262144, "256 KB"),
        (262145, "256 KB"),
        (1 << 20, "1 MB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (999, "999"), (1000, "1 k"), (12500, "12.5 k"), (1_240_000, "1.24 M")]
)
def test_counts(count: int, text: str) -> None:
    assert count_text(count) == text


def test_shares() -> None:
    assert (share_text(1, 8), share_text(1, 0)) == ("12.5%", "-")


def test_inspect_names_what_is_unsupported() -> None:
    layers = [
        tables.InspectLayer("conv1", "Conv", (16, 1, 300), 272, 81600, 4800),
        tables.InspectLayer("[/odd]", "Einsum", (16,), 0, 0, 16, "Einsum is not supported: use MatMul"),
    ]
    usages = [tables.Usage("SRAM", 300_000, 262144)]
    text = _text(
        tables.inspect_view(tables.InspectReport("m.onnx", "mps2-an386", layers, usages, "Does not fit", False))
    )
    for words in (
        "16×1×300",
        "81.6 k",
        "[/odd] (Einsum): Einsum is not supported: use MatMul",
        "114.4% of 256 KB",
        "Does not fit",
    ):
        assert words in text
    assert "total" in _text(tables.inspect_view(tables.InspectReport("m", "b", [], [], "ok", True)))


def test_compile_prints_the_lower_bound() -> None:
    report = tables.CompileReport(
        "watch", "mps2-an386", "build/watch", [tables.Usage("SRAM", 9000, 262144, (("arena", 8000), ("state", 1000)))],
        8000, 8000, 12, 20, [("trains", "head, 4 biases")],
    )  # fmt: skip
    text = _text(tables.compile_view(report))
    for words in (
        "8,000 B, lower bound 8,000 B (no smaller one exists)",
        "arena 8,000 + state 1,000",
        "12 forward, 20 backward",
    ):
        assert words in text
    looser = tables.CompileReport("w", "b", "d", [], 8080, 8000, 1, 1)
    assert "1.0% above the lower bound" in _text(tables.compile_view(looser))


def test_demo_compares_device_and_float() -> None:
    report = tables.DemoReport(
        "A watch learns its wearer",
        [tables.DemoAccuracy("subject 2", 0.61, 0.9, 0.62, 0.91)],
        [tables.DemoMemory("SRAM", 9000, 9000, 9700, 262144), tables.DemoMemory("flash", 50000, 50000, None, 1 << 20)],
        1_000_000, 3_000_000, 100_000_000, ["picture: build/demo/arena.svg"],
    )  # fmt: skip
    text = _text(tables.demo_view(report))
    for words in ("+29.0", "-1.0", "9,700 B", "3,000,000", "30.0 ms", "3.7%", "picture: build/demo/arena.svg"):
        assert words in text


def test_bench_divides_by_macs() -> None:
    layers = [tables.BenchLayer("conv1", "Conv", 600, 100), tables.BenchLayer("loss", "Softmax", 200, 0)]
    report = tables.BenchReport("watch", "mps2-an386", 600, 1000, (100, 50, 50), [tables.Usage("SRAM", 1, 2)], layers)
    text = _text(tables.bench_view(report))
    for words in ("6.00", "5.00", "4.00", "75.0%", "50.0% of 2 B"):
        assert words in text
