"""The two PyTorch exporters write the same network differently; both end in the same dialect.

The graphs here are what torch 2.13 wrote (TorchScript: opset 17; dynamo: opset 20), reduced to a few channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from frontend_graphs import Builder, operators, run
from mcugrad.frontend import load_model, prepare

SHAPE = ("N", 3, 8, 8)


def torchscript() -> onnx.ModelProto:
    """Conv+ReLU6, depthwise, residual, pad by constants, mean, dropout, view by Shape->Gather->Concat, linear."""
    b = Builder(17, seed=3)
    x = b.node(
        "Conv", "x", b.random(4, 3, 3, 3), b.random(4), name="/features/conv1/Conv",
        dilations=[1, 1], group=1, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2],
    )  # fmt: skip
    zero = b.node("Constant", value=onnx.numpy_helper.from_array(np.float32(0)))
    six = b.node("Constant", value=onnx.numpy_helper.from_array(np.float32(6)))
    x = b.node("Clip", x, zero, six, name="/features/act1/Clip")
    y = b.node(
        "Conv", x, b.random(4, 1, 3, 3), name="/features/conv2/Conv", auto_pad="SAME_UPPER",
        dilations=[1, 1], group=4, kernel_shape=[3, 3], strides=[1, 1],
    )  # fmt: skip
    y = b.node(
        "BatchNormalization", y, b.random(4), b.random(4), b.random(4), b.const([1, 2, 3, 4]),
        name="/features/bn2/BatchNormalization", epsilon=1e-5, momentum=0.9, training_mode=0,
    )  # fmt: skip
    x = b.node("Add", x, y, name="/Add")
    # F.pad(x, (0, 1, 0, 1)) as TorchScript computes its paddings.
    flat = b.node(
        "Concat", b.const([0, 1, 0, 1], "i8"), b.node("ConstantOfShape", b.const([4], "i8"), value=_int64(0)), axis=0
    )
    pairs = b.node("Reshape", flat, b.const([-1, 2], "i8"), allowzero=0)
    bounds = [b.const([value], "i8") for value in (-1, -(2**63) + 1, 0, -1)]
    pads = b.node("Transpose", b.node("Slice", pairs, *bounds), perm=[1, 0])
    pads = b.node("Cast", b.node("Reshape", pads, b.const([-1], "i8")), to=7)
    x = b.node("Pad", x, pads, "", mode="constant")
    x = b.node("Conv", x, b.random(5, 4, 2, 2), b.random(5), name="/conv3/Conv", kernel_shape=[2, 2], strides=[1, 1])
    x = b.node("Relu", x, name="/Relu")
    x = b.node("GlobalAveragePool", x, name="/pool/GlobalAveragePool")
    first = b.node("Unsqueeze", b.node("Gather", b.node("Shape", x), b.const(0, "i8"), axis=0), b.const([0], "i8"))
    x = b.node("Reshape", x, b.node("Concat", first, b.const([-1], "i8"), axis=0), allowzero=0, name="/Reshape")
    x = b.node("Dropout", x, name="/dropout/Dropout")
    b.node("Gemm", x, b.random(3, 5), b.random(3), out="logits", name="/fc/Gemm", alpha=1.0, beta=1.0, transB=1)
    return b.model(SHAPE, "logits")


def _int64(value: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array([value], np.int64))


def dynamo(folder: Path) -> Path:
    """The same network: ReduceMean + Reshape, scalar limits as initializers, weights in a file beside the model."""
    b = Builder(20, seed=3)
    limits = [b.const(0.0, name="min_val_cast"), b.const(6.0, name="max_val_cast")]
    more: dict[str, Any] = {"auto_pad": "NOTSET", "group": 1, "dilations": [1, 1]}
    x = b.node(
        "Conv", "x", b.random(4, 3, 3, 3), b.random(4), name="node_conv2d",
        **more, pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3],
    )  # fmt: skip
    x = b.node("Clip", x, *limits, name="n4")
    y = b.node(
        "Conv", x, b.random(4, 1, 3, 3), name="node_conv2d_1",
        **{**more, "group": 4}, pads=[1, 1, 1, 1], strides=[1, 1], kernel_shape=[3, 3],
    )  # fmt: skip
    y = b.node(
        "BatchNormalization", y, b.random(4), b.random(4), b.random(4), b.const([1, 2, 3, 4]),
        name="node__native_batch_norm_legit_no_training__0", epsilon=1e-5, momentum=0.9,
    )  # fmt: skip
    x = b.node("Add", x, y, name="node_add")
    x = b.node(
        "Conv", x, b.random(5, 4, 2, 2), b.random(5), name="node_conv2d_2",
        **more, pads=[0, 0, 1, 1], strides=[1, 1], kernel_shape=[2, 2],
    )  # fmt: skip
    x = b.node("Relu", x, name="node_relu")
    x = b.node("ReduceMean", x, b.const([-1, -2], "i8"), name="node_mean", noop_with_empty_axes=0, keepdims=1)
    x = b.node("Reshape", x, b.const([-1, 5], "i8"), name="node_view", allowzero=1)
    b.node(
        "Gemm", x, b.random(3, 5), b.random(3), out="logits", name="node_linear",
        beta=1.0, transB=1, alpha=1.0, transA=0,
    )  # fmt: skip
    path = folder / "net.onnx"
    model = b.model(SHAPE, "logits")
    onnx.save(model, path, save_as_external_data=True, location="net.onnx.data", size_threshold=64)
    assert (folder / "net.onnx.data").stat().st_size > 0
    return path


def test_both_exporters_end_in_the_same_dialect(tmp_path: Path) -> None:
    script_path = tmp_path / "script.onnx"
    onnx.save(torchscript(), script_path)
    script, modern = prepare(load_model(script_path)), prepare(load_model(dynamo(tmp_path)))
    wanted = ["Conv", "Clip", "Conv", "Add", "Conv", "Relu", "GlobalAveragePool", "Reshape", "Gemm"]
    assert operators(script) == operators(modern) == wanted
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(script, x), run(torchscript(), x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(script, x), run(modern, x), rtol=1e-5, atol=1e-5)
    names = [node.name for node in script.graph.node]
    assert names[:3] == ["/features/conv1/Conv", "/features/act1/Clip", "/features/conv2/Conv"]
    assert names[-1] == "/fc/Gemm"
    for model in (script, modern):
        assert (model.opset_import[0].version, model.ir_version, len(model.opset_import)) == (17, 8, 1)


@pytest.mark.parametrize("opset", [17, 20])
def test_linear_over_time_and_mean(opset: int) -> None:
    """Linear on (N, T, C): MatMul + Add on three dimensions, then x.mean(1) and a classifier."""
    b = Builder(opset)
    y = b.node("Add", b.random(6), b.node("MatMul", "x", b.random(4, 6), name="/l1/MatMul"))
    y = b.node("Relu", y)
    extra = [b.const([1], "i8")] if opset >= 18 else []
    y = b.node("ReduceMean", y, *extra, keepdims=0, axes=[1] if opset < 18 else None)
    b.node("Gemm", y, b.random(3, 6), b.random(3), out="y", transB=1)
    model = b.model((1, 5, 4), "y")
    prepared = prepare(model)
    assert operators(prepared) == ["Transpose", "Conv", "Relu", "GlobalAveragePool", "Reshape", "Gemm"]
    assert prepared.graph.node[0].input[0] == "x"
    x = np.random.default_rng(0).standard_normal((1, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(run(prepared, x), run(model, x), rtol=1e-5, atol=1e-6)


def test_dynamo_adaptive_pool_1d() -> None:
    """AdaptiveAvgPool1d(1): Unsqueeze, ReduceMean, Squeeze, Reshape become one GlobalAveragePool and one Reshape."""
    b = Builder(20)
    y = b.node("Unsqueeze", b.node("Conv", "x", b.random(4, 2, 3), kernel_shape=[3]), b.const([-2], "i8"))
    y = b.node("ReduceMean", y, b.const([-1, -2], "i8"), keepdims=1)
    y = b.node("Reshape", b.node("Squeeze", y, b.const([-2], "i8")), b.const([1, 4], "i8"), allowzero=1)
    b.node("LogSoftmax", b.node("Gemm", y, b.random(3, 4), transB=1), out="y", axis=1)
    prepared = prepare(b.model((1, 2, 9), "y"))
    assert operators(prepared) == ["Conv", "GlobalAveragePool", "Reshape", "Gemm", "LogSoftmax"]


def test_channels_last_input() -> None:
    """A normalised NHWC input: the Transpose stays at the input, the constants join the first convolution."""
    b = Builder(17)
    y = b.node("Sub", b.node("Div", "x", b.const(127.5)), b.const([1.0, 0.9, 0.8]))
    y = b.node("Transpose", y, perm=[0, 3, 1, 2])
    y = b.node("Conv", y, b.random(4, 3, 2, 2), kernel_shape=[2, 2], strides=[2, 2])
    y = b.node("Flatten", b.node("Transpose", b.node("Relu", y), perm=[0, 2, 3, 1]))
    b.node("Gemm", y, b.random(36, 3), b.random(3), out="y")
    model = b.model((1, 6, 6, 3), "y")
    prepared = prepare(model)
    assert operators(prepared) == ["Transpose", "Conv", "Relu", "Reshape", "Gemm"]
    x = np.random.default_rng(0).uniform(0, 255, (1, 6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(run(prepared, x), run(model, x), rtol=1e-4, atol=1e-4)
