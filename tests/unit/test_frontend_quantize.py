"""Quantising, replacing the classifier, and the form that every quantised graph ends in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frontend_graphs import Array, Builder, operators, run
from mcugrad.errors import McugradError
from mcugrad.frontend import agreement, is_quantized, prepare, quantize, replace_classifier, summarize


def network() -> onnx.ModelProto:
    """One of every operator of the dialect, 2-D."""
    b = Builder(17, seed=5)
    x = b.node("Conv", "x", b.random(4, 2, 3, 3, scale=0.3), b.random(4), name="c1", pads=[1, 1, 1, 1])
    x = b.node("Relu", x)
    y = b.node("LeakyRelu", b.node("Conv", x, b.random(4, 1, 3, 3, scale=0.3), name="c2", group=4, pads=[1, 0, 1, 2]))
    y = b.node("Pad", y, b.const([0, 0, 0, 0, 0, 0, 1, 1], "i8"), b.const(0.5))
    y = b.node("MaxPool", y, kernel_shape=[2, 2], strides=[1, 1])
    x = b.node("Clip", b.node("Add", x, y), b.const(-0.5), b.const(2.0))
    p = b.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    m = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Conv", b.node("Concat", p, m, axis=1), b.random(6, 8, 1, 1, scale=0.3), b.random(6), name="c3")
    x = b.node("Reshape", b.node("GlobalAveragePool", x), b.const([1, 6], "i8"))
    b.node("Softmax", b.node("Gemm", x, b.random(5, 6), b.random(5), name="head", transB=1), out="y", axis=-1)
    return b.model((1, 2, 8, 8), "y")


X: Array = np.random.default_rng(0).standard_normal((40, 2, 8, 8)).astype(np.float32)


def _initializers(model: onnx.ModelProto) -> dict[str, Array]:
    return {init.name: numpy_helper.to_array(init) for init in model.graph.initializer}


def check_canonical(model: onnx.ModelProto) -> None:
    """What README.md promises about QDQ graphs."""
    consts = _initializers(model)
    made = {node.output[0]: node for node in model.graph.node}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = consts[node.input[1]], consts[node.input[2]]
            constant = node.input[0] in consts
            assert scale.dtype == np.float32
            assert scale.shape == zero.shape == ((len(consts[node.input[0]]),) if constant else ())
            assert constant or zero.dtype == np.int8
            assert not constant or not zero.any()
        elif node.op_type in ("Conv", "Gemm"):
            x, w = made[node.input[0]], made.get(node.input[1])
            assert w is None or consts[w.input[0]].dtype == np.int8
            if w is not None and len(node.input) > 2:
                bias = made[node.input[2]]
                assert consts[bias.input[0]].dtype == np.int32
                units = consts[x.input[1]] * consts[w.input[1]]
                np.testing.assert_array_equal(consts[bias.input[1]], units)
        if node.op_type in ("MaxPool", "Transpose", "Reshape") and node.output[0] in readers:
            before, after = made.get(node.input[0]), readers[node.output[0]][0]
            if before is not None and before.op_type == "DequantizeLinear" and after.op_type == "QuantizeLinear":
                assert [consts[name] for name in before.input[1:]] == [consts[name] for name in after.input[1:]]


def test_quantize_covers_every_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other processes use the common one
    model = network()
    quantised = quantize(model, X)
    assert not list(tmp_path.iterdir())
    assert is_quantized(quantised)
    assert not is_quantized(prepare(model))
    check_canonical(quantised)
    ops = operators(quantised)
    assert ops[-1] == "Softmax"
    assert "Relu" not in ops  # the quantiser's saturation does it
    result = agreement(prepare(model), quantised, X)
    assert result.samples == 40
    assert result.argmax >= 0.9
    assert result.snr_db > 25
    assert result.mean_abs_error < 0.01
    assert quantize(model, X).SerializeToString(deterministic=True) == quantised.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("x", "word"),
    [
        (X[:, :1], "(n, 2, 8, 8)"),
        (X[:0], "no samples"),
        (np.full_like(X, np.nan), "NaN"),
        (X.reshape(40, -1), "(n, 2, 8, 8)"),
    ],
)
def test_bad_calibration_data(x: Array, word: str) -> None:
    with pytest.raises(McugradError) as caught:
        quantize(network(), x)
    assert word in str(caught.value)


def test_quantised_models_are_not_quantised_again() -> None:
    with pytest.raises(McugradError, match="quantised already"):
        quantize(quantize(network(), X), X)


def test_half_quantised_graphs_are_refused() -> None:
    """A float layer in the middle of int8 ones is named."""
    quantised = quantize(network(), X)
    names = {"c3": ""}
    for node in quantised.graph.node:
        if node.name == "c3":
            names["c3"] = node.output[0]
    source = next(n for n in quantised.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == names["c3"])
    real = next(n for n in quantised.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == source.output[0])
    for node in quantised.graph.node:
        node.input[:] = [names["c3"] if name == real.output[0] else name for name in node.input]
    quantised.graph.node.remove(real)
    quantised.graph.node.remove(source)
    with pytest.raises(McugradError, match=r"'c3' \(Conv\).*not quantised"):
        prepare(quantised)


@pytest.mark.parametrize("quantised", [False, True])
def test_fresh_classifier(quantised: bool) -> None:
    model = quantize(network(), X) if quantised else network()
    fresh = replace_classifier(model, 3)
    np.testing.assert_allclose(run(fresh, X[:1]), [[1 / 3] * 3], rtol=1e-6)
    head = next(node for node in fresh.graph.node if node.name == "head")
    consts = _initializers(fresh)
    assert consts[head.input[1]].shape == (3, 6)
    assert consts[head.input[1]].dtype == consts[head.input[2]].dtype == np.float32
    again = prepare(fresh)
    assert again.graph.node == fresh.graph.node
    assert [d.dim_value for d in fresh.graph.output[0].type.tensor_type.shape.dim] == [1, 3]
    if quantised:
        feature = next(node for node in fresh.graph.node if node.output[0] == head.input[0])
        assert feature.op_type == "DequantizeLinear"


def test_fresh_classifier_on_a_convolution_and_on_nothing() -> None:
    b = Builder()
    y = b.node("GlobalAveragePool", b.node("Conv", "x", b.random(4, 2, 3, 3)))
    b.node("Flatten", b.node("Conv", y, b.random(9, 4, 1, 1), name="head"), out="y")
    fresh = replace_classifier(b.model((1, 2, 8, 8), "y"), 2)
    assert operators(fresh) == ["Conv", "GlobalAveragePool", "Reshape", "Gemm"]
    assert fresh.graph.node[-1].name == "head"
    b = Builder()
    b.node("Relu", b.node("Conv", "x", b.random(4, 2, 3, 3)), out="y", name="last")
    with pytest.raises(McugradError, match="'last'"):
        replace_classifier(b.model((1, 2, 8, 8), "y"), 2)
    with pytest.raises(McugradError, match="--classes"):
        replace_classifier(network(), 0)


def test_summary() -> None:
    summary = summarize(network())
    by_name = {layer.name: layer for layer in summary.layers}
    assert (by_name["c1"].params, by_name["c1"].macs) == (4 * 2 * 9 + 4, 8 * 8 * 4 * 2 * 9)
    assert by_name["c1"].activation_bytes == 4 * 64
    assert (by_name["head"].params, by_name["head"].macs) == (35, 30)
    assert summary.params == sum(layer.params for layer in summary.layers)
    assert (summary.input_shape, summary.output_shape) == ((1, 2, 8, 8), (1, 5))
    assert summary.largest_pair is not None
    assert summary.largest_pair.input_bytes + summary.largest_pair.output_bytes == 3 * 4 * 64  # the residual Add
    assert summary.supported
    assert not summary.quantized
    quantised = summarize(quantize(network(), X))
    assert quantised.quantized
    assert (quantised.params, quantised.macs) == (summary.params, summary.macs)
