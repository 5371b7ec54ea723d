"""Forward of random quantised networks: emitted C on the host against onnxruntime, layer by layer and end to end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest

from emitted_models import Emitted, quantised_input
from layerwise import EXACT, Agreement, Theirs, compare, output_scale
from mcugrad import frontend
from mcugrad.frontend.importer import import_model
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model
from random_networks import Array, Options, network, quantized, samples

OPTIONS = [
    Options(*which)
    for which in itertools.product(("QDQ", "QOperator"), ("QInt8", "QUInt8"), (False, True), (True, False))
] + [
    Options(form, kind, False, per_channel, kind, weight_zero=True)
    for form, kind, per_channel in itertools.product(("QDQ", "QOperator"), ("QInt8", "QUInt8"), (True, False))
]
NETWORKS = 4  # for each of the options
SAMPLES = 2
DRIFT = 10  # LSB of the output; 6 was seen
OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Gemm", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Pad", "Relu",
    "Transpose",
)  # fmt: skip


@dataclass
class _Case:
    seed: int
    given: onnx.ModelProto
    canonical: onnx.ModelProto
    model: Model
    x: Array = field(repr=False)


@dataclass
class _Built:
    cases: dict[Options, list[_Case]]
    emitted: Emitted
    total: dict[str, Agreement] = field(default_factory=lambda: {"given": Agreement(), "canonical": Agreement()})
    end_to_end: list[float] = field(default_factory=list)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> _Built:
    """All networks, in one shared library."""
    emitted = Emitted(tmp_path_factory.mktemp("forward"))
    cases: dict[Options, list[_Case]] = {}
    for index, options in enumerate(OPTIONS):
        cases[options] = [_case(NETWORKS * index + i, options, emitted) for i in range(NETWORKS)]
    emitted.build()
    return _Built(cases, emitted)


def _case(seed: int, options: Options, emitted: Emitted) -> _Case:
    float_model = network(seed)
    given = quantized(float_model, samples(float_model, seed, 8), options)
    canonical = frontend.prepare(given)
    model = import_model(canonical, f"net{seed}", float_head=False)
    emitted.add(model, compile_model(model, "none", fuse=False).program)
    return _Case(seed, given, canonical, model, samples(float_model, seed + 10_000, SAMPLES))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_layers_equal_onnxruntime(built: _Built, options: Options) -> None:
    """Every layer on onnxruntime's own inputs: Conv and Gemm to the bit, others within one.

    Once with the tensors of the graph as it was given, once with those of its canonical form, where every layer has a
    counterpart.
    """
    problems = []
    for case in built.cases[options]:
        for which, graph in (("given", case.given), ("canonical", case.canonical)):
            found = compare(built.emitted, case.model, case.canonical, Theirs(graph), case.x)
            problems += [f"seed {case.seed}, {which}: {text}" for text in found.problems()]
            assert sum(found.elements[op] for op in EXACT) > 0
            built.total[which].merge(found)
    assert not problems, problems


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_zero_points_of_weights_are_used(built: _Built, options: Options) -> None:
    """In every network that has them. onnxruntime's QDQ quantiser gives none to weights per channel."""
    has_them = options.weight_zero and (options.form, options.per_channel) != ("QDQ", True)
    for case in built.cases[options]:
        calls = built.emitted.entries[case.model.name].program.calls
        assert any(c.kernel == "mg_conv2d_asymmetric_s8" for c in calls) == has_them


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_are_near_onnxruntime(built: _Built, options: Options) -> None:
    """End to end, against the given graph as onnxruntime runs it by default.

    Its optimiser leaves some Convs in float, and what is one off there goes through all later layers, up to an output
    whose range is small beside the sums that make it. So this bounds drift only.
    """
    for case in built.cases[options]:
        theirs = np.concatenate([frontend.run_model(case.given, x[None]) for x in case.x])
        inputs = quantised_input(case.model, case.x)
        ours = np.concatenate([built.emitted.predict(case.model.name, x) for x in inputs])
        steps = np.abs(ours - theirs) / output_scale(case.canonical)
        built.end_to_end.extend(steps.reshape(-1).tolist())
        assert steps.max() <= DRIFT, f"seed {case.seed}: {steps.max():.2f} LSB"


def test_agreement_is_reported(built: _Built, record_property: Callable[[str, object], None]) -> None:
    """Every operator was compared, and hardly any element differs."""
    for which, total in built.total.items():
        record_property("agreement", f"layers of the {which} graph\n{total.text()}")
        assert set(OPERATORS) <= set(total.elements), set(OPERATORS) - set(total.elements)
        assert all(total.share(op) > 98 for op in total.elements), total.text()
    steps = np.rint(built.end_to_end)
    record_property(
        "agreement",
        f"end to end: {100 * (steps == 0).mean():.1f} % of {steps.size} outputs equal, {steps.max():.0f} LSB",
    )
