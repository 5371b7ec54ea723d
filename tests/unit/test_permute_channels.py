"""Channels that a scheme lists become the first ones, and nothing else about the network changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emitted_models import Emitted
from frontend_graphs import Builder
from gradient_check import straight_through
from graphs import imported, residual_2d
from mcugrad import frontend
from mcugrad.frontend.importer import import_model
from mcugrad.graph import Model, Role
from mcugrad.passes.permute_channels import permute_channels, prefix_order
from mcugrad.pipeline import compile_model
from mcugrad.plan import plan
from mcugrad.program import Null, Struct
from mcugrad.scheme import Channels, Scheme, Selection, Subset, resolve, runs
from quantiser import Options, quantized, samples
from random_networks import network
from straight_through import Dual

Array = npt.NDArray[Any]
NETWORKS = 24


def _scheme(weight: Mapping[str, float | Channels]) -> Scheme:
    return Scheme.model_validate({"weight": weight})


def _permuted(model: Model, weight: Mapping[str, float | Channels]) -> tuple[Model, Selection]:
    return permute_channels(model, resolve(_scheme(weight), model))


def _lists(model: Model, rng: np.random.Generator) -> dict[str, float | Channels]:
    """Lists of inputs, of outputs or of both for about half of the layers."""
    weight: dict[str, float | Channels] = {}
    for p in model.parameters:
        if p.role is Role.WEIGHT and not p.head and rng.random() < 0.5:
            outputs, inputs = (tuple(int(c) for c in rng.permutation(n)[: -(-n // 2)]) for n in p.value.shape[:2])
            either = (Channels(inputs=inputs), Channels(outputs=outputs), Channels(inputs=inputs, outputs=outputs))
            weight[p.layer] = either[rng.integers(3)]
    return weight


def _stage(*, outputs: int = 5) -> Model:
    """Three residual blocks over the same eight channels: expand (1x1, 8 to 16), depthwise, project (1x1, 16 to 8)."""
    b = Builder()
    x = b.node("Conv", "x", b.random(8, 3, 3, 3, scale=0.3), b.random(8, scale=0.1), name="stem", pads=[1] * 4)
    for block in "abc":
        y = b.node("Conv", x, b.random(16, 8, 1, 1, scale=0.4), b.random(16, scale=0.1), name=f"{block}.expand")
        y = b.node("Clip", y, b.const(0.0), b.const(6.0), name=f"{block}.clip")
        y = b.node("Conv", y, b.random(16, 1, 3, 3, scale=0.4), b.random(16), name=f"{block}.depthwise", group=16,
                   pads=[1] * 4)  # fmt: skip
        y = b.node("Conv", y, b.random(8, 16, 1, 1, scale=0.3), b.random(8, scale=0.1), name=f"{block}.project")
        x = b.node("Add", x, y, name=f"{block}.sum")
    y = b.node("Flatten", b.node("GlobalAveragePool", x, name="mean"), name="flat")
    y = b.node("Gemm", y, b.random(outputs, 8, scale=0.3), b.random(outputs, scale=0.1), transB=1, name="head")
    return imported(b.model((1, 3, 6, 5), y))


@pytest.fixture(scope="module")
def stage() -> Model:
    return _stage()


# ---- what does not change -------------------------------------------------------------------------------------------


def _random_network(seed: int) -> Model:
    """A third of them with a zero point for every output channel of their weights."""
    net, name = network(seed), f"plain{seed}"
    if seed % 3:
        return imported(net, name, float_head=False)
    options = Options("QOperator", "QInt8", symmetric=False, per_channel=True, weights="QInt8", weight_zero=True)
    return import_model(frontend.prepare(quantized(net, samples(net, seed, 8), options)), name, float_head=False)


def test_random_networks_compute_the_same_bytes(tmp_path: Path) -> None:
    """The integer classifier's outputs; a float32 one would add the same products in another order."""
    emitted, moved, inputs = Emitted(tmp_path), 0, {}
    for seed in range(NETWORKS):
        rng, model = np.random.default_rng(seed), _random_network(seed)
        other, _ = _permuted(model, _lists(model, rng))
        moved += sum(bool(p.order) for p in other.parameters)
        emitted.add(model, plan(model, None))
        emitted.add(replace(other, name=f"listed{seed}"), plan(replace(other, name=f"listed{seed}"), None))
        inputs[seed] = rng.integers(-128, 128, (3, *model.input_shape)).astype(np.int8)
    assert moved > NETWORKS
    emitted.build()
    for seed, x in inputs.items():
        plain, listed = ([emitted.predict(f"{kind}{seed}", v) for v in x] for kind in ("plain", "listed"))
        np.testing.assert_array_equal(plain, listed, err_msg=f"seed {seed}")


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_the_same_function(seed: int) -> None:
    """Without rounding, both networks are one function of the parameters, up to the order of their channels: here at
    random points, along random directions, in float64."""
    rng, model = np.random.default_rng(seed), imported(residual_2d(seed))
    other, _ = _permuted(model, _lists(model, rng) | {"last": Channels(inputs=(4, 1), outputs=(11, 3, 7))})
    assert any(p.order for p in other.parameters)
    x = Dual.fixed(rng.integers(-128, 128, model.input_shape).astype(np.int8))
    directions = {p.name: rng.standard_normal(p.value.shape) * 0.1 for p in model.parameters}
    results = []
    for m in (model, other):
        points = {m.module["main"].params[0].name: x}
        for p in m.parameters:
            places = np.ix_(*(p.order.get(axis, range(n)) for axis, n in enumerate(p.value.shape)))
            points[p.name] = Dual(p.value, p.value.astype(np.float64) + directions[p.name][places])
        results.append(straight_through(m.module["main"], points).v)
    assert np.ptp(results[0]) > 0
    np.testing.assert_allclose(results[1], results[0], rtol=1e-9, atol=1e-9 * np.abs(results[0]).max())


def test_the_input_and_the_output_keep_their_order(stage: Model) -> None:
    model, selection = _permuted(stage, {"stem": Channels(inputs=(1, 2))})
    assert model is stage
    assert selection.subsets["stem.weight"] == Subset(((1, 3),), ((0, 8),))
    assert all(0 not in p.order for p in _permuted(stage, {"stem": Channels(outputs=(3,))})[0].parameters if p.head)


@pytest.mark.parametrize("scheme", ["all", "biases", _scheme({"a.expand": 0.4, "c.expand": 0.6, "b.project": 1.0})])
def test_a_scheme_without_lists_moves_nothing(stage: Model, scheme: str | Scheme) -> None:
    selection = resolve(scheme, stage)
    model, same = permute_channels(stage, selection)
    assert model is stage
    assert same is selection


# ---- what is gained -------------------------------------------------------------------------------------------------


def _tables(model: Model, weight: Mapping[str, float | Channels]) -> int:
    """How many sides of trained weights the emitted code reads a table of runs for."""
    calls = compile_model(model, _scheme(weight)).program.calls
    subsets = [dict(a.fields) for c in calls for a in c.args if isinstance(a, Struct) and a.type == "mg_subset_t"]
    assert len(subsets) == len(weight)
    return sum(not isinstance(subset[side], Null) for subset in subsets for side in ("inputs", "outputs"))


def test_lists_of_different_layers_need_no_table(stage: Model) -> None:
    lists = Channels(inputs=(3, 7, 12), outputs=(1, 6)), Channels(inputs=(0, 15), outputs=(1, 6))
    weight = {"a.project": lists[0], "b.project": lists[1], "c.expand": Channels(outputs=(2, 9, 11))}
    assert _tables(stage, weight) == 0


def test_equal_and_nested_lists_of_a_residual_stage_need_no_table(stage: Model) -> None:
    inputs = (1, 4, 6, 7)
    assert _tables(stage, {f"{b}.expand": Channels(inputs=inputs) for b in "abc"}) == 0
    assert _tables(stage, {f"{b}.expand": Channels(inputs=inputs[: n + 1]) for n, b in enumerate("bca")}) == 0


def test_a_share_still_means_the_first_channels_of_the_onnx_layer(stage: Model) -> None:
    """Nested in the list, so that both cost nothing."""
    model, selection = _permuted(stage, {"a.expand": 0.25, "b.expand": Channels(inputs=(0, 1, 6))})
    assert model.parameter("a.expand.weight").order[1][:3] == (0, 1, 6)
    assert selection.subsets["a.expand.weight"].inputs == ((0, 2),)
    assert selection.subsets["b.expand.weight"].inputs == ((0, 3),)


def test_of_lists_that_overlap_the_larger_comes_first_and_the_other_is_a_run(stage: Model) -> None:
    weight = {"a.expand": Channels(inputs=(5, 2)), "b.expand": Channels(inputs=(7, 0, 2))}
    _, selection = _permuted(stage, weight)
    assert selection.subsets["b.expand.weight"].inputs == ((0, 3),)
    assert selection.subsets["a.expand.weight"].inputs == ((2, 4),)
    assert _tables(stage, weight) == 1


LISTS = st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=4)


@given(LISTS)
def test_an_order_begins_with_the_first_list(lists: list[set[int]]) -> None:
    order = prefix_order(12, lists)
    assert sorted(order) == list(range(12))
    assert set(order[: len(lists[0])]) == lists[0]
    if len(lists) > 1:
        assert len(runs(order.index(c) for c in lists[1])) == 1


@given(LISTS, st.randoms())
def test_nested_lists_are_all_prefixes(lists: list[set[int]], random: Any) -> None:
    chain = [set.union(*lists[: n + 1]) for n in range(len(lists))]
    random.shuffle(chain)
    order = prefix_order(12, chain)
    assert all(set(order[: len(c)]) == c for c in chain)
