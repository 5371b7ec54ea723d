"""Whatever the rewriting rules do to a random graph (float, QDQ, QOperator), onnxruntime computes the same with it."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization as ort
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from frontend_graphs import Array, networks, operators, run, shape_of
from mcugrad.frontend import prepare

DIALECT = {
    "Conv", "Gemm", "Relu", "Clip", "LeakyRelu", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool",
    "Reshape", "Transpose", "Pad", "Softmax", "LogSoftmax",
}  # fmt: skip
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@given(networks())
@settings(RANDOM, max_examples=200)
def test_preparation_keeps_the_outputs(model: onnx.ModelProto) -> None:
    prepared = prepare(model)
    x = np.random.default_rng(1).standard_normal(shape_of(model)).astype(np.float32)
    expected = run(model, x, optimise=False)
    size = max(1.0, float(np.abs(expected).max()))
    assert set(operators(prepared)) <= DIALECT
    np.testing.assert_allclose(run(prepared, x), expected, rtol=1e-5, atol=1e-5 * size)
    assert prepare(prepared).graph.node == prepared.graph.node


class _Reader(ort.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, x: Array) -> None:
        self.rest = iter(x)

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self.rest, None)
        return None if sample is None else {"x": sample[None]}


def _quantized(model: onnx.ModelProto, x: Array, **options: Any) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.helper.set_model_props(copy, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "q.onnx"
        ort.quantize_static(copy, path, _Reader(x), **options)
        return onnx.load(path)


def _activation_scales(model: onnx.ModelProto) -> list[float]:
    arrays = [numpy_helper.to_array(init) for init in model.graph.initializer if init.name.endswith("_scale")]
    return [float(array) for array in arrays if array.ndim == 0]


@pytest.mark.parametrize("form", [ort.QuantFormat.QDQ, ort.QuantFormat.QOperator])
@given(
    networks(plain=True),
    st.booleans(),
    st.booleans(),
    st.sampled_from([ort.QuantType.QInt8, ort.QuantType.QUInt8]),
    st.booleans(),
)
@settings(RANDOM, max_examples=60)
def test_quantised_graphs_keep_their_outputs(
    form: ort.QuantFormat,
    model: onnx.ModelProto,
    per_channel: bool,
    symmetric: bool,
    kind: ort.QuantType,
    weight_zero: bool,
) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    x = np.random.default_rng(1).standard_normal((6, *shape_of(model)[1:])).astype(np.float32)
    options = {"ActivationSymmetric": symmetric, "ForceQuantizeNoInputCheck": True, "WeightSymmetric": not weight_zero}
    types = {"activation_type": kind, "weight_type": kind if weight_zero else ort.QuantType.QInt8}
    given_model = _quantized(model, x, quant_format=form, per_channel=per_channel, extra_options=options, **types)
    assume(1.0 not in _activation_scales(given_model))  # a tensor that is always zero has no range to speak of
    prepared = prepare(given_model)
    expected = np.concatenate([run(given_model, x[i : i + 1]) for i in range(len(x))])
    found = np.concatenate([run(prepared, x[i : i + 1]) for i in range(len(x))])
    assert set(operators(prepared)) <= DIALECT | QUANTIZERS
    last = next(node for node in reversed(prepared.graph.node) if node.op_type == "QuantizeLinear")
    scale = next(numpy_helper.to_array(i) for i in prepared.graph.initializer if i.name == last.input[1])
    # Mostly equal to the bit; an Add of a constant becomes a depthwise Conv, which may round the other way.
    assert np.abs(found - expected).max() <= 3 * float(scale) + 1e-6
    assert float((found == expected).mean()) > 0.5 or np.abs(found - expected).max() <= float(scale) * 1.01
    assert prepare(prepared).graph.node == prepared.graph.node
