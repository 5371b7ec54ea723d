"""Random networks under random schemes: the emitted C trains as the Relax VM does, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from frontend_graphs import networks
from graphs import imported
from host_model import HostModel
from mcugrad.graph import Model, Role
from mcugrad.pipeline import compile_model
from mcugrad.scheme import Bias, Channels, Scheme
from mcugrad.simulate.vm import ReferenceTrainer

Array = npt.NDArray[Any]
STEPS = 12


def _scheme(model: Model, rng: np.random.Generator) -> Scheme:
    """Whole weights, shares of the inputs and lists of channels; some biases; any error type; any way to round."""
    weight: dict[str, float | Channels] = {}
    for p in model.parameters:
        if p.role is not Role.WEIGHT or p.head or rng.random() < 0.2:
            continue
        lists = [sorted(int(c) for c in rng.permutation(n)[: rng.integers(1, n + 1)]) for n in p.value.shape[:2]]
        some = Channels(outputs=tuple(lists[0]), inputs=tuple(lists[1]))
        choices: list[float | Channels] = [1.0, float(rng.uniform(0.1, 1)), some]
        weight[p.layer] = choices[rng.integers(3)]
    errors = ["int8", "int8", "int16", "float32"][rng.integers(4)]
    bias = Bias(last=int(rng.integers(9)))
    update = {"rounding": ["stochastic", "residual"][rng.integers(2)], "accumulate": int(rng.integers(1, 4))}
    return Scheme.model_validate({"errors": errors, "bias": bias, "weight": weight, **update})


@settings(max_examples=8, deadline=None, derandomize=True)
@given(networks(), st.sampled_from(["cross_entropy", "mse"]), st.booleans(), st.integers(0, 2**31))
def test_random_networks_train_bit_for_bit(net: onnx.ModelProto, loss: str, float_head: bool, seed: int) -> None:
    rng, model = np.random.default_rng(seed), imported(net, float_head=float_head)
    scheme = _scheme(model, rng)
    assume(scheme.weight or scheme.bias.last or any(p.head for p in model.parameters))
    compiled = compile_model(model, scheme, loss)
    assert compiled.step is not None
    with tempfile.TemporaryDirectory() as folder:
        host, relax = HostModel(compiled, Path(folder)), ReferenceTrainer(compiled.model, compiled.step)
        host.init()
        host.plan(0.01, 7)
        for index in range(STEPS):
            x = np.clip(rng.normal(model.input_grid.zero_point, 55, model.input_shape), -128, 127).astype(np.int8)
            target: Array = np.array([rng.integers(np.prod(model.output_shape))], np.int32)
            if loss == "mse":
                target = rng.normal(0, 1, model.output_shape).astype(np.float32)
            losses = relax.train_step(x, target, 0.01, 7, index), host.train_step(x, target)
            assert np.float32(losses[0]).tobytes() == np.float32(losses[1]).tobytes()
            state = host.state()
            expected = {n: v for n, v in relax.parameters.items() if n in state}
            expected |= zip((n for n in state if n.endswith(".ratio")), relax.ratios.values(), strict=True)
            expected |= relax.rests
            assert {n: v.tobytes() for n, v in state.items()} == {n: expected[n].tobytes() for n in state}
