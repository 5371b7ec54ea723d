"""Weights with a zero point: what the frontend keeps, which kernels run, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from emitted_models import Emitted, quantised_input
from frontend_graphs import Array, Builder, run
from mcugrad import frontend
from mcugrad.errors import McugradError
from mcugrad.frontend.importer import import_model
from mcugrad.pipeline import compile_model

X_SCALE, Y_SCALE = 0.05, 0.2


def _quantised(b: Builder, x: str, scale: float, zero: int = 120) -> str:
    grid = b.const(scale), b.const(zero, "u1")
    return b.node("DequantizeLinear", b.node("QuantizeLinear", x, *grid), *grid)


def _weight(b: Builder, q: Array, zero: Any, axis: int | None = None) -> str:
    """Behind its DequantizeLinear; one scale for each zero point."""
    zero = np.asarray(zero, q.dtype)
    scale = b.const(0.01 + 0.002 * np.arange(zero.size).reshape(zero.shape))
    return b.node("DequantizeLinear", b.const(q, str(q.dtype)), scale, b.const(zero, str(zero.dtype)), axis=axis)


def _layer(q: Array, zero: Any, *, quantise: bool = True, axis: int | None = None, **attrs: Any) -> onnx.ModelProto:
    """Gemm `head` of a (1, in) input, its output on a grid or real."""
    b = Builder()
    y = b.node("Gemm", _quantised(b, "x", X_SCALE), _weight(b, q, zero, axis), name="head", **attrs)
    inputs = q.shape[1] if attrs.get("transB") else q.shape[0]
    return b.model((1, inputs), _quantised(b, y, Y_SCALE) if quantise else y)


def _bytes(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _samples(inputs: int) -> Array:
    return np.random.default_rng(3).normal(0, 2, (5, inputs)).astype(np.float32)


def _constant(model: onnx.ModelProto, op: str, at: int) -> list[Array]:
    """What the constant inputs of the weight of every `op` hold: q, scale, zero point."""
    makers = {n.output[0]: n for n in model.graph.node}
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [arrays[makers[n.input[1]].input[at]] for n in model.graph.node if n.op_type == op]


def test_uint8_weights_are_shifted_to_int8() -> None:
    q, zeros = _bytes(6, 4), [3, 128, 255, 90]
    prepared = frontend.prepare(_layer(q, zeros, axis=1))
    np.testing.assert_array_equal(_constant(prepared, "Gemm", 0)[0], q.T.astype(int) - 128)
    np.testing.assert_array_equal(_constant(prepared, "Gemm", 2)[0], np.array(zeros) - 128)
    assert _constant(prepared, "Gemm", 2)[0].dtype == np.int8
    assert frontend.prepare(prepared) == prepared


@pytest.mark.parametrize("alpha", [0.5, -2.0])
def test_a_factor_moves_into_weights_and_zero_points(alpha: float, tmp_path: Any) -> None:
    """A negative one turns both around."""
    q = np.maximum(_bytes(6, 4), 1)
    model = _layer(q, [3, 128, 255, 90], axis=1, alpha=alpha)
    prepared = frontend.prepare(model)
    sign = np.sign(alpha)
    np.testing.assert_array_equal(_constant(prepared, "Gemm", 2)[0], sign * (np.array([3, 128, 255, 90]) - 128))
    x = _samples(6)
    expected = np.concatenate([run(model, v[None], optimise=False) for v in x])
    np.testing.assert_allclose(_emitted(prepared, x, tmp_path), expected, atol=1e-5)


def test_a_factor_that_does_not_fit_is_refused() -> None:
    """-128 has no opposite in int8, neither as a weight nor as a zero point."""
    for q, zero in ((np.zeros((2, 2), np.uint8), 9), (np.full((2, 2), 7, np.uint8), 0)):
        with pytest.raises(McugradError, match="'head' .*cannot take its alpha of -1"):
            frontend.prepare(_layer(q, zero, alpha=-1.0))


def test_a_convolution_of_its_whole_input_behind_a_transpose(tmp_path: Any) -> None:
    """Conv becomes Gemm, and the Transpose a permutation of its weight: zero points stay with their channel."""
    b = Builder()
    x = b.node("Transpose", _quantised(b, "x", X_SCALE), perm=[0, 2, 3, 1])
    y = b.node("Conv", x, _weight(b, _bytes(3, 2, 4, 5), [10, 200, 128], axis=0), name="whole")
    model = b.model((1, 5, 2, 4), _quantised(b, b.node("Flatten", y), Y_SCALE))
    prepared = frontend.prepare(model)
    np.testing.assert_array_equal(_constant(prepared, "Gemm", 2)[0], [-118, 72, 0])
    samples = np.random.default_rng(1).normal(0, 2, (4, 5, 2, 4)).astype(np.float32)
    expected = np.concatenate([run(model, v[None], optimise=False) for v in samples])
    np.testing.assert_allclose(_emitted(prepared, samples, tmp_path), expected, atol=1e-5)


def _emitted(prepared: onnx.ModelProto, x: Array, folder: Any) -> Array:
    emitted, model = Emitted(folder), import_model(prepared, "net", float_head=False)
    emitted.add(model, compile_model(model, "none").program)
    emitted.build()
    return np.concatenate([emitted.predict("net", q) for q in quantised_input(model, x)])


def _kernels(model: onnx.ModelProto) -> list[str]:
    compiled = compile_model(import_model(frontend.prepare(model), "net", float_head=False), "none")
    return [call.kernel for call in compiled.program.calls]


def test_a_zero_point_in_the_middle_is_none() -> None:
    """uint8 weights around 128 are symmetric int8: the same kernel, the same arguments."""
    q = _bytes(6, 4)
    signed = (q.astype(int) - 128).astype(np.int8)
    assert (
        _kernels(_layer(q, 128)) == _kernels(_layer(signed, 0)) == ["mg_fully_connected_pairs_s8", "mg_dequantize_s8"]
    )
    assert _kernels(_layer(q, 127))[0] == "mg_conv2d_asymmetric_s8"


def test_sums_that_could_overflow_are_refused() -> None:
    """Sooner than for symmetric weights: a term is up to 255 * 255."""
    assert _kernels(_layer(_bytes(33025, 1), 5))[0] == "mg_conv2d_asymmetric_s8"
    assert _kernels(_layer(_bytes(33026, 1), 128))[0] == "mg_fully_connected_pairs_s8"
    with pytest.raises(McugradError, match="'head': one output sums 33026 products, .* up to 33025"):
        _kernels(_layer(_bytes(33026, 1), 5))


def test_zero_points_along_an_input_axis_are_refused() -> None:
    with pytest.raises(McugradError, match="'head' .*vary along an input axis"):
        frontend.prepare(_layer(_bytes(3, 4), [1, 2, 3, 4], axis=1, transB=1))
    b = Builder()
    weight = b.node("DequantizeLinear", b.const(_bytes(6, 4), "u1"), b.const([0.1] * 4), b.const([1, 2], "u1"))
    y = b.node("Gemm", _quantised(b, "x", X_SCALE), weight, name="head")
    model = b.model((1, 6), _quantised(b, y, Y_SCALE))
    with pytest.raises(McugradError, match="2 zero points for shape"):
        frontend.prepare(model)


def test_a_classifier_with_real_outputs_is_float_or_symmetric() -> None:
    q = _bytes(6, 4)
    prepared = frontend.prepare(_layer(q, 100, quantise=False))
    with pytest.raises(McugradError, match="'head' .*have a zero point and its outputs are real"):
        import_model(prepared, "net", float_head=False)
    weight = np.asarray(import_model(prepared, "net", float_head=True).parameters[0].value, np.float32)
    np.testing.assert_allclose(weight, (q.T.astype(int) - 100) * np.float32(0.01), rtol=1e-6)
