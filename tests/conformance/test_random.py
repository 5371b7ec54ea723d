"""Random networks, quantised in every way, trained under random schemes: forward against onnxruntime, gradients
against float64, emitted C on the host against the emulated cores and, in turn, the Relax VM, memory against the linker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from layerwise import Agreement
from random_cases import draw, draw_network
from random_checks import check

SEEDS = 500
LAYERS = range(5, 36)  # operators of a network
OPERATORS = (
    "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "Div", "Dropout", "Flatten", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min",
    "Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze",
)  # fmt: skip


@pytest.mark.device
@pytest.mark.parametrize("seed", range(SEEDS), ids="seed{}".format)
def test_what_is_claimed_holds(seed: int, record_property: Callable[[str, object], None]) -> None:
    agreement = Agreement()
    problems = check(draw(seed), agreement)
    record_property("random network", agreement.to_json())
    assert not problems, "\n".join(problems)


def test_the_networks_have_everything_supported() -> None:
    """Every operator of the main README's table, in several networks."""
    networks, sizes = Counter[str](), []
    for seed in range(SEEDS):
        nodes = draw_network(seed)[0].graph.node
        networks.update({node.op_type for node in nodes})
        sizes.append(len(nodes))
    assert set(networks) == set(OPERATORS)
    assert min(networks.values()) >= 10, networks
    assert sum(size in LAYERS for size in sizes) > 0.95 * SEEDS
