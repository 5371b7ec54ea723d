"""Convolution kernels against numpy and against onnxruntime's QLinearConv."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from kernel_cases import F32, FEW, SEEDS, Conv, centred, convs, int8s, requantized
from kernel_layouts import run_depthwise
from kernel_library import Array, Kernels


def _operands(conv: Conv, seed: int) -> tuple[Array, Array, Array | None, Array]:
    rng = np.random.default_rng(seed)
    reach = rng.choice([100, 2**31])  # biases that wrap the accumulator, too
    bias = rng.integers(-reach, reach, conv.out_c).astype(np.int32)
    scale = (10.0 ** rng.uniform(-4, -1, conv.out_c)).astype(F32)
    return int8s(rng, conv.in_c, *conv.size), int8s(rng, *conv.weight), bias if rng.random() < 0.8 else None, scale


def _run(kernels: Kernels, name: str, conv: Conv, x: Array, w: Array, b: Array | None, scale: Array) -> Array:
    y = np.full((conv.out_c, *conv.out), 77, np.int8)
    kernels(name, conv.struct(), x, w, b, scale, y)
    return y


@given(convs(), SEEDS)
@FEW
def test_conv2d(kernels: Kernels, conv: Conv, seed: int) -> None:
    x, w, b, scale = _operands(conv, seed)
    expected = requantized(conv.accumulate(x, w, b), scale[:, None, None], conv.zeros[1], conv.limits)
    np.testing.assert_array_equal(_run(kernels, "conv2d_s8", conv, x, w, b, scale), expected)


@given(convs(), SEEDS)
@FEW
def test_conv2d_of_weights_with_a_zero_point(kernels: Kernels, conv: Conv, seed: int) -> None:
    x, w, b, scale = _operands(conv, seed)
    w_zero = int8s(np.random.default_rng(seed + 1), conv.out_c)
    acc = conv.accumulate(x, centred(w, w_zero), b)
    y = np.full((conv.out_c, *conv.out), 77, np.int8)
    kernels("conv2d_asymmetric_s8", conv.struct(), x, w, w_zero, b, scale, y)
    np.testing.assert_array_equal(y, requantized(acc, scale[:, None, None], conv.zeros[1], conv.limits))


@given(st.integers(1, 70), st.integers(1, 11), SEEDS)
@FEW
def test_fully_connected(kernels: Kernels, n_in: int, n_out: int, seed: int) -> None:
    conv = Conv(1, n_in, n_out, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (seed % 256 - 128, 5))
    x, w, b, scale = _operands(conv, seed)
    expected = requantized(conv.accumulate(x, w, b), scale[:, None, None], conv.zeros[1], conv.limits)
    np.testing.assert_array_equal(_run(kernels, "fully_connected_s8", conv, x, w, b, scale), expected)


def test_the_longest_sum_that_cannot_overflow(kernels: Kernels) -> None:
    conv = Conv(1, 65535, 1, (1, 4), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (-128, 0))
    x, w = np.full((conv.in_c, 1, 4), 127, np.int8), np.full(conv.weight, -128, np.int8)
    scale = np.array([5e-8], F32)
    expected = requantized(np.full(4, -65535 * 255 * 128), scale, 0, (-128, 127))
    np.testing.assert_array_equal(_run(kernels, "conv2d_s8", conv, x, w, None, scale).ravel(), expected)
    one = replace(conv, size=(1, 1))
    y = _run(kernels, "fully_connected_s8", one, np.ascontiguousarray(x[:, :, :1]), w, None, scale)
    np.testing.assert_array_equal(y.ravel(), expected[:1])


def test_the_longest_sum_of_weights_with_a_zero_point(kernels: Kernels) -> None:
    conv = Conv(1, 33025, 1, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (-128, 0))
    x, w = np.full((conv.in_c, 1, 1), 127, np.int8), np.full(conv.weight, -128, np.int8)
    scale, y, w_zero = np.array([5e-8], F32), np.zeros(1, np.int8), np.full(1, 127, np.int8)
    kernels("conv2d_asymmetric_s8", conv.struct(), x, w, w_zero, None, scale, y)
    np.testing.assert_array_equal(y, requantized(np.full(1, -33025 * 255 * 255), scale, 0, (-128, 127)))


def _qlinear_conv(conv: Conv, x: Array, w: Array, b: Array, scales: tuple[Array, Array, Array]) -> Array:
    """onnxruntime's answer; scales of x, w (per channel), y."""
    zeros = [np.array(z, np.int8) for z in conv.zeros]
    constants = {"xs": scales[0], "xz": zeros[0], "w": w, "ws": scales[1], "wz": np.zeros(conv.out_c, np.int8)}
    constants |= {"ys": scales[2], "yz": zeros[1], "b": b}
    node = helper.make_node(
        "QLinearConv",
        ["x", *constants],
        ["y"],
        strides=conv.stride,
        dilations=conv.dilation,
        pads=conv.pads,
        group=conv.groups,
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.INT8, (1, *x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.INT8, None)],
        [onnx.numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x[None]})[0][0])


@pytest.mark.parametrize("seed", range(24))
def test_bits_of_onnxruntime(kernels: Kernels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = ["dense", "depthwise", "grouped", "one position"][seed % 4]
    groups, group_in, group_out = {"dense": (1, 5, 7), "depthwise": (6, 1, 1 + seed % 3), "grouped": (2, 3, 4)}.get(
        kind, (1, 67, 9)
    )
    conv = Conv(
        *(groups, group_in, group_out),
        size=(9, 11),
        kernel=(3, 5) if seed % 3 else (1, 1),
        stride=(1 + seed % 2, 1 + seed % 3 // 2),
        dilation=(1, 1 + seed % 5 // 4),
        pads=(1, 2, 0, 1),
        zeros=(int(rng.integers(-128, 128)), int(rng.integers(-128, 128))),
    )
    if kind == "one position":
        conv = replace(conv, size=(1, 1), kernel=(1, 1), stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0))
    x = int8s(rng, conv.in_c, *conv.size)
    # 7 bits: onnxruntime itself saturates a sum of two products on x86 without VNNI
    w = rng.integers(-64, 65, conv.weight).astype(np.int8)
    b = rng.integers(-4000, 4000, conv.out_c).astype(np.int32)
    x_scale, w_scale = F32(rng.uniform(0.005, 0.1)), rng.uniform(0.001, 0.02, conv.out_c).astype(F32)
    y_scale = F32(rng.uniform(0.02, 0.3))
    scale = (x_scale * w_scale / y_scale).astype(F32)
    if kind == "depthwise":
        y = run_depthwise(kernels, conv, x, w, b, scale)
    else:
        y = _run(kernels, "fully_connected_s8" if kind == "one position" else "conv2d_s8", conv, x, w, b, scale)
    scales = np.asarray(x_scale), w_scale, np.asarray(y_scale)
    np.testing.assert_array_equal(y, _qlinear_conv(conv, x, w, b, scales))
