"""Whatever the rewriting rules do to a random graph, onnxruntime computes the same with it."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings

from frontend_graphs import networks, operators, run, shape_of
from mcugrad.frontend import prepare

DIALECT = {
    "Conv", "Gemm", "Relu", "Clip", "LeakyRelu", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool",
    "Reshape", "Transpose", "Pad", "Softmax", "LogSoftmax",
}  # fmt: skip


@given(networks())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_preparation_keeps_the_outputs(model: onnx.ModelProto) -> None:
    prepared = prepare(model)
    x = np.random.default_rng(1).standard_normal(shape_of(model)).astype(np.float32)
    expected = run(model, x, optimise=False)
    assert set(operators(prepared)) <= DIALECT
    np.testing.assert_allclose(
        run(prepared, x), expected, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(expected).max()))
    )
    assert prepare(prepared).graph.node == prepared.graph.node
