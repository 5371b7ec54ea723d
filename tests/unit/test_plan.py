"""Programs of whole models: a read finds the bytes that were meant, and nothing is there that nobody needs."""

from __future__ import annotations

from functools import cache

import pytest

from frontend_graphs import Builder
from graphs import imported, residual_2d, watch
from mcugrad.emit.project import emit_project
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model
from mcugrad.program import Kind, Program, Store
from mcugrad.scheme import Bias, Scheme

SCHEMES: dict[str, str | Scheme] = {
    "all": "all",
    "head": "head",
    "biases": "biases",
    "none": "none",
    "sparse": Scheme(bias=Bias(last=2), weight={"stem": 0.5}),
    "int16": Scheme(bias=Bias(last=99), weight={"stem": 1.0}, errors="int16"),
    "float32": Scheme(bias=Bias(last=99), weight={"stem": 1.0}, errors="float32"),
}
GRAPHS = {"watch": watch, "residual": residual_2d}


@cache
def model_of(name: str) -> Model:
    return imported(GRAPHS[name](), name)


@cache
def program_of(name: str, scheme: str) -> Program:
    return compile_model(model_of(name), SCHEMES[scheme]).program


every = pytest.mark.parametrize(
    ("name", "scheme"), [(name, scheme) for name in GRAPHS for scheme in SCHEMES], ids=lambda value: value
)


def _tensor(program: Program, name: str) -> str:
    """The tensor that `name` is: a reshape is what it reshapes; what a kernel wrote in place is one of its own."""
    written = {n for call in program.calls for n in call.writes}
    while name in program.views and name not in written:
        name = program.views[name]
    return name


@every
def test_every_read_finds_the_bytes_of_its_tensor(name: str, scheme: str) -> None:
    """Plays the calls on an arena whose bytes know which tensor they hold."""
    program = program_of(name, scheme)
    arena: list[str | None] = [None] * program.arena_bytes

    def place(tensor: str) -> slice:
        start = program.offsets[program.root(tensor)]
        return slice(start, start + program.buffers[tensor].nbytes)

    arena[place(program.input)] = [program.input] * program.buffers[program.input].nbytes
    for call in program.calls:
        for tensor in {_tensor(program, n) for n in call.reads if program.buffers[program.root(n)].in_arena}:
            held = set(arena[place(tensor)])
            assert held == {tensor}, f"{call.kernel} of {call.layer} reads {tensor} and finds {held}"
        for tensor in {n for n in call.writes if program.buffers[program.root(n)].in_arena}:
            arena[place(tensor)] = [tensor] * program.buffers[tensor].nbytes
    if scheme == "none":
        assert set(arena[place(program.output)]) == {_tensor(program, program.output)}


@every
def test_no_two_living_buffers_overlap(name: str, scheme: str) -> None:
    """But where a call reads one while the other grows over it."""
    program = program_of(name, scheme)
    spans = program.lifetimes()
    overlaps = [(program.root(low), program.root(up), least) for low, up, least in program.overlaps]
    shared = {(low, up): least for low, up, least in overlaps if spans[up][1] == spans[low][0]}
    for a, (first, last) in spans.items():
        start = program.offsets[a]
        assert 0 <= start <= start + program.buffers[a].nbytes <= program.arena_bytes
        for b in (b for b, span in spans.items() if b != a and span[0] <= last and first <= span[1]):
            low, up = sorted((a, b), key=program.offsets.__getitem__)
            apart = shared.get((low, up), program.buffers[low].nbytes)
            assert program.offsets[low] + apart <= program.offsets[up], (low, up)


@pytest.mark.parametrize(("width", "shares"), [(12, True), (80, False)])
def test_a_depthwise_convolution_grows_over_its_input(width: int, shares: bool) -> None:
    """And its gradient over the error; but not where a channel takes two tiles."""
    b = Builder()
    x = b.node("Relu", b.node("Conv", "x", b.random(16, 2, 1, 1), b.random(16), name="expand"))
    x = b.node("Relu", b.node("Conv", x, b.random(16, 1, 3, 3), b.random(16), name="depthwise", pads=[1] * 4, group=16))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    model = imported(b.model((1, 2, 10, width), b.node("Gemm", x, b.random(3, 16), transB=1, name="head")))
    program = compile_model(model, "biases", stream=False).program
    two_planes = 2 * 16 * 10 * width
    assert (program.arena_bytes < two_planes + 1000) == shares
    assert len(program.overlaps) == (2 if shares else 0)


@every
def test_what_is_written_in_place_is_read_there_only_element_by_element(name: str, scheme: str) -> None:
    """A kernel may take over the bytes of its second summand, or of its only operand if it works element by element."""
    program = program_of(name, scheme)
    elementwise = {"mg_error_map", "mg_add_s8", "mg_requantize_s8"}
    for call in program.calls:
        out = {program.root(n) for n in call.writes}
        store = next((a for a in call.args if isinstance(a, Store)), None)
        shared = [n for n in call.reads if program.root(n) in out and program.buffers[program.root(n)].in_arena]
        if call.kernel not in elementwise and call.op != "Pad":
            assert all(store is not None and n == store.skip for n in shared), call


@every
def test_an_update_comes_after_every_reader_of_the_old_value(name: str, scheme: str) -> None:
    program = program_of(name, scheme)
    trained = {n for n, b in program.buffers.items() if b.kind is Kind.STATE and not n.endswith(".ratio")}
    for parameter in trained:
        (update,) = [i for i, call in enumerate(program.calls) if parameter in call.writes]
        readers = [i for i, call in enumerate(program.calls) if parameter in call.reads]
        assert max(readers) == update, parameter
        assert program.calls[update].phase == "backward"


@every
def test_frozen_parameters_stay_in_flash(name: str, scheme: str) -> None:
    program, model = program_of(name, scheme), model_of(name)
    state = set(program.state)
    for parameter in model.parameters:
        kind = program.buffers[parameter.name].kind
        assert kind is (Kind.STATE if parameter.name in state else Kind.CONST)
    assert (program.loss is None) == (scheme == "none")
    if scheme == "head":
        assert state == {p.name for p in model.parameters if p.head}


@every
def test_a_folder_holds_the_kernels_it_calls_and_no_others(name: str, scheme: str) -> None:
    program = program_of(name, scheme)
    files = set(emit_project(model_of(name), program, source="x.onnx", summary="x").files)
    kernels = {call.kernel for call in program.calls}
    assert {f"{kernel.removeprefix('mg_')}.c" for kernel in kernels} <= files
    for part, wanted in {
        "dgrad": any("dgrad" in k for k in kernels),
        "update": any("update" in k for k in kernels),
        "softmax": any("softmax" in k for k in kernels),
        "_s16": any(k.endswith("_s16") for k in kernels),
    }.items():
        assert any(part in f for f in files if f.endswith(".c")) == wanted, part


@pytest.mark.parametrize("name", GRAPHS)
def test_training_less_takes_less(name: str) -> None:
    """SRAM, of the arena and what is trained. The arena alone may be larger with frozen weights, whose convolutions
    have panels."""
    programs = [program_of(name, scheme) for scheme in ("none", "head", "biases", "all")]
    sizes = [p.arena_bytes + sum(p.buffers[n].nbytes for n in p.state) for p in programs]
    assert sizes == sorted(set(sizes))
    assert programs[0].arena_bytes < programs[-1].arena_bytes
