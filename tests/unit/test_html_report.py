"""The HTML report says what the manifest says, loads nothing, and is written over nothing but itself."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import Terminal, terminal, tree, write_model, write_samples
from mcugrad.graph import Grid, Model, Parameter, Role
from mcugrad.report.facts import Channels, ParameterFacts, parameter_facts
from mcugrad.report.html import Report, render
from mcugrad.report.html_graph import Graph, build_graph
from mcugrad.report.html_memory import LEFT, MAP_HEIGHT, MAP_TOP, build_memory
from mcugrad.report.html_scales import error_rows, scale_axis, scale_rows
from mcugrad.scheme import Selection, Subset
from report_pages import compile_page

__all__ = ["terminal"]
MEMORY = (1 << 18, 1 << 20)
VOID = {"meta", "link", "br", "hr", "img", "input"}


class _Reader(HTMLParser):
    """Tags, attributes and words; raises where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    return compile_page(tmp_path_factory.mktemp("page"))


def _facts(
    name: str,
    role: str,
    outputs: tuple[int, int],
    inputs: tuple[int, int] | None = None,
    kernel: int = 1,
    dead: int = 0,
) -> ParameterFacts:
    ins, outs = Channels(*inputs) if inputs else None, Channels(*outputs)
    shape = (outs.total,) if ins is None else (outs.total, ins.total, kernel, 1)
    values = outs.trained * (ins.trained * kernel if ins else 1)
    limits = 1 if role == "weight" else None
    layer = name.rsplit(".", 1)[0]
    return ParameterFacts(name, layer, role, shape, int(np.prod(shape)), outs, ins, values, dead, (0.001, 0.01), limits)


PARAMETERS = [
    _facts("stem.weight", "weight", (0, 8), (0, 3), 9),
    _facts("stem.bias", "bias", (0, 8)),
    _facts("depthwise.weight", "weight", (0, 8), (0, 1), 9),
    _facts("depthwise.bias", "bias", (0, 8)),
    _facts("grouped.weight", "weight", (0, 8), (0, 4)),
    _facts("grouped.bias", "bias", (0, 8)),
    _facts("dilated.weight", "weight", (3, 8), (8, 8), 9),
    _facts("dilated.bias", "bias", (0, 8)),
    _facts("point.weight", "weight", (6, 6), (8, 16), dead=2),
    _facts("point.bias", "bias", (6, 6)),
    _facts("wide.weight", "weight", (0, 6), (0, 16), 3),
    _facts("wide.bias", "bias", (6, 6)),
    _facts("last.weight", "weight", (0, 12), (0, 6), 9),
    _facts("last.bias", "bias", (12, 12)),
    _facts("head.weight", "float_weight", (5, 5), (12, 12)),
    _facts("head.bias", "float_bias", (5, 5)),
]


@pytest.fixture(scope="module")
def graph(page: tuple[dict[str, Any], str]) -> Graph:
    return build_graph(page[0], PARAMETERS)


# ---- the page -------------------------------------------------------------------------------------------------------
def test_the_page_loads_nothing(page: tuple[dict[str, Any], str]) -> None:
    _, html = page
    reader = _Reader(html)
    assert not [pair for pair in reader.attributes if pair[0] in ("src", "srcset", "action", "data", "background")]
    assert all(value.startswith("#") for name, value in reader.attributes if name in ("href", "xlink:href"))
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|WebSocket", html)
    assert "default-src 'none'" in html


def test_the_same_compilation_gives_the_same_bytes(page: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    html = compile_page(tmp_path)[1]
    # The manifest names the scheme's file as it was given.
    assert re.sub(r"[^ ]*/scheme\.toml", "", html) == re.sub(r"[^ ]*/scheme\.toml", "", page[1])


def test_the_page_says_what_was_compiled(page: tuple[dict[str, Any], str]) -> None:
    manifest, html = page
    text = " ".join(" ".join(_Reader(html).words).split())
    sram = manifest["predicted"]["sram"]["total"]
    for words in (
        f"fits: {sram:,} of 262,144 bytes",
        "3 of 8 outputs",
        "8 of 16 inputs",
        "bias 12",
        "all 5 × 12",
        f"{manifest['macs']['forward']:,} {manifest['macs']['dgrad']:,} {manifest['macs']['wgrad']:,}",
        "mcugrad compile net.onnx",
        f"All {len(manifest['tensors'])} tensors",
        *(row["name"] for row in manifest["tensors"]),
    ):
        assert words in text, words


def test_a_program_too_large_is_said_to_be_so(page: tuple[dict[str, Any], str]) -> None:
    html = render(Report(page[0], PARAMETERS, (4096, 1 << 20)))
    assert re.search(r'verdict bad">does not fit: [\d,]+ of 4,096 bytes', html)


@pytest.mark.parametrize("board", ["mps2-an386", "host"])
def test_inference_only(tmp_path: Path, board: str) -> None:
    manifest, html = compile_page(tmp_path, "none", board)
    text = " ".join(_Reader(html).words)
    assert "inference only" in text
    assert "Error tensors" not in text
    assert "gradient passes" in text  # the legend; no layer is so
    assert "n-passes" not in re.sub("(?s)<style>.*</style>", "", html)
    assert ("this board has no limit" in text) == (board == "host")
    assert 'class="phase">backward' not in html
    assert manifest["macs"]["dgrad"] == 0


def test_names_from_the_graph_are_text(page: tuple[dict[str, Any], str]) -> None:
    evil = "</script><b>\"&'"
    manifest = copy.deepcopy(page[0])
    for row in (*manifest["tensors"], *manifest["calls"]):
        row["layer"] = row["layer"].replace("dilated", evil)
    manifest["name"] = evil
    html = render(Report(manifest, PARAMETERS, MEMORY))
    assert "<b>\"&'" not in html
    assert "".join(_Reader(html).words).count(evil) > 5


# ---- what it shows --------------------------------------------------------------------------------------------------
def test_nodes_and_edges_are_the_graph(graph: Graph) -> None:
    names = [node.name for node in graph.nodes]
    assert (names[0], names[1], names[-1]) == ("input", "stem", "loss")
    edges = {(names[e.source], names[e.target]): e for e in graph.edges}
    expected = [
        *[("input", "stem"), ("stem", "depthwise"), ("depthwise", "grouped"), ("grouped", "leaky"), ("leaky", "sum1")],
        *[("stem", "sum1"), ("sum1", "dilated"), ("dilated", "sum2"), ("sum1", "sum2"), ("sum1", "peak")],
        *[("sum2", "sum3"), ("peak", "sum3"), ("sum3", "max"), ("sum3", "avg"), ("max", "join"), ("avg", "join")],
        *[("point", "join.rows"), ("wide", "join.rows"), ("last", "mean"), ("mean", "head"), ("head", "loss")],
    ]
    assert set(expected) <= set(edges)
    assert ("input", "depthwise") not in edges
    errors = {pair for pair, edge in edges.items() if edge.error}
    # Nothing before `dilated` trains, so no gradient is needed there.
    assert {("dilated", "sum2"), ("sum2", "sum3"), ("sum3", "max"), ("head", "loss")} <= errors
    assert not {("stem", "sum1"), ("sum1", "dilated"), ("sum1", "sum2"), ("peak", "sum3")} & errors


def test_edges_that_pass_by_do_not_overlap(graph: Graph) -> None:
    far = [e for e in graph.edges if e.target - e.source > 1]
    assert far
    assert all((e.lane >= 0) == (e.target - e.source > 1) for e in graph.edges)
    for a in far:
        assert not [b for b in far if b is not a and b.lane == a.lane and a.source < b.target and b.source < a.target]


def test_parts_follow_the_scheme(graph: Graph) -> None:
    parts = {node.name: node.part for node in graph.nodes}
    assert [n for n, part in parts.items() if part == "weights"] == ["dilated", "point", "head"]
    assert [n for n, part in parts.items() if part == "biases"] == ["wide", "last"]
    assert {parts[n] for n in ("stem", "depthwise", "grouped", "sum1", "peak")} == {"frozen"}
    assert {parts[n] for n in ("sum2", "sum3", "max", "avg", "join", "mean")} == {"passes"}


def test_bytes_and_macs_are_all_counted(page: tuple[dict[str, Any], str], graph: Graph) -> None:
    manifest = page[0]
    for work in ("forward", "dgrad", "wgrad"):
        assert sum(getattr(node, work) for node in graph.nodes) == manifest["macs"][work]
    for kind, key in (("const", "flash"), ("state", "state")):
        total = sum(row["bytes"] for row in manifest["tensors"] if row["kind"] == kind)
        assert sum(getattr(node, key) for node in graph.nodes) == total
    at = {node.name: node for node in graph.nodes}
    assert at["stem"].forward == 8 * 6 * 5 * 27
    assert at["dilated"].wgrad == 3 * 6 * 5 * 8 * 9
    assert (at["loss"].flash, at["loss"].state) == (0, 0)
    assert at["dilated"].flash == 8 * 4 * 2 + 3 * 4 + 8 * 4  # bias and scales, three runs of outputs, QAS factors
    assert at["stem"].output == 8 * 6 * 5


def test_blocks_cover_the_arena_without_overlap(page: tuple[dict[str, Any], str]) -> None:
    manifest = page[0]
    memory = build_memory(manifest)
    owners = [r for r in manifest["tensors"] if "offset" in r and "shares_bytes_of" not in r]
    assert len(memory.blocks) == len(owners)
    for i, a in enumerate(memory.blocks):
        assert a.x >= LEFT - 1e-9
        assert MAP_TOP - 1e-6 <= a.y <= a.y + a.height <= MAP_TOP + MAP_HEIGHT + 1e-6
        for b in memory.blocks[:i]:
            apart = a.x + a.width <= b.x + 1e-6 or b.x + b.width <= a.x + 1e-6
            assert apart or a.y + a.height <= b.y + 1e-6 or b.y + b.height <= a.y + 1e-6, (a.tip, b.tip)
    assert len(memory.instants) == len(manifest["calls"])
    assert 0 < memory.instants[memory.peak].live <= manifest["arena_bytes"]
    (tip,) = [b.tip for b in memory.blocks if b.tip.startswith("stem.y\n")]
    assert "activation · int8 1×8×6×5\n240 bytes at " in tip
    assert "alive in calls 0 … " in tip


def test_scales_and_errors(page: tuple[dict[str, Any], str], graph: Graph) -> None:
    manifest = page[0]
    rows = {row.layer: row for row in scale_rows(manifest, PARAMETERS, graph)}
    assert list(rows) == ["stem", "depthwise", "grouped", "dilated", "point", "wide", "last"]
    tensors = {row["name"]: row for row in manifest["tensors"]}
    stem, depthwise = rows["stem"], rows["depthwise"]
    assert stem.x is not None
    assert stem.y == depthwise.x
    assert stem.x.scale == manifest["input"]["scale"]
    assert stem.y is not None
    assert stem.y.scale == tensors["stem.y"]["scale"]
    assert rows["point"].qas == pytest.approx(100)
    assert scale_axis(PARAMETERS) == (-3, -2)
    errors = error_rows(manifest)
    assert {e.name for e in errors} == {r["name"] for r in manifest["tensors"] if r["kind"] == "error"}
    assert {e.scale for e in errors} <= {"delayed", "fixed"}


def test_facts_of_parameters() -> None:
    weight = np.zeros((4, 6, 3, 3), np.int8)
    weight[0, 0, 0] = (127, -128, 126)
    scale = np.array([0.5, 1e-9, 0.25, 0.125], np.float32)
    parameters = (
        Parameter("a.weight", "a", Role.WEIGHT, weight, scale),
        Parameter("a.bias", "a", Role.BIAS, np.zeros(4, np.int32), scale),
        Parameter("b.weight", "b", Role.FLOAT_WEIGHT, np.zeros((2, 4), np.float32), np.ones(2, np.float32)),
    )
    model = Model("m", None, parameters, (1, 6), Grid(1.0, 0), (1, 2))
    selection = Selection(("a.weight",), {"a.weight": Subset(((0, 2),), ((0, 2), (3, 4)))})
    a, bias, b = parameter_facts(model, selection)
    assert (a.outputs, a.inputs, a.values) == (Channels(3, 4), Channels(2, 6), 2 * 2 * 9)
    assert (a.dead, a.scale, a.at_limit) == (1, (0.125, 0.5), 2)
    assert (bias.trains, bias.is_bias, bias.inputs, bias.values, bias.at_limit) == (False, True, None, 0, None)
    assert (b.trains, b.scale, b.elements) == (False, None, 8)


# ---- where it is written --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        ("out/manifest.json", "--report writes HTML, and 'manifest.json' is not named so"),
        ("mine.html", "mine.html exists and is no report of mcugrad's"),
        ("folder.html", "folder.html is a folder"),
        ("nowhere/r.html", "nowhere does not exist"),
    ],
)
def test_refused(terminal: Terminal, tmp_path: Path, report: str, sentence: str) -> None:
    (tmp_path / "mine.html").write_text("<html>my page</html>")
    (tmp_path / "folder.html").mkdir()
    model, data = write_model(tmp_path / "model.onnx"), write_samples(tmp_path / "calib.npz")
    assert sentence in terminal.refuses("compile", model, "-o", "out", "--data", data, "--report", report)


def test_written_again_also_into_the_folder(terminal: Terminal, tmp_path: Path) -> None:
    model, data = write_model(tmp_path / "model.onnx"), write_samples(tmp_path / "calib.npz")
    command: tuple[str | Path, ...] = ("compile", model, "-o", "out", "--data", data, "--report", "out/r.html")
    assert "out/r.html" in terminal.succeeds(*command, "--train", "head")
    first = tree(tmp_path)
    terminal.succeeds(*command, "--train", "all")
    second = tree(tmp_path)
    assert second["out/r.html"] != first["out/r.html"]
    terminal.succeeds(*command, "--train", "head")
    assert tree(tmp_path)["out/r.html"] == first["out/r.html"]
