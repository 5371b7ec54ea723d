"""The float32 reference: forward against onnxruntime, gradients against finite differences, and that it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from models.float_graph import FloatGraph
from models.float_ops import Conv, DepthwiseConv, GraphError, Layer, Window
from models.watch import finetune_float as ff

WATCH = Path(ff.__file__).parent
Rng = np.random.Generator


class Builder:
    """Collects ONNX nodes and constants; every method returns the name of the tensor it makes."""

    def __init__(self, seed: int) -> None:
        self.rng: Rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def node(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = f"t{len(self.nodes)}"
        name = name or f"n{len(self.nodes)}.{op.lower()}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def save(self, path: Path, output: str, shape: tuple[int, ...]) -> Path:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "g",
            [value("input", TensorProto.FLOAT, ["batch", *shape])],
            [value(output, TensorProto.FLOAT, ["batch", None])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save_model(model, path)
        return path


def net_1d(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Every operator of the watch, and the odd cases: asymmetric pads, dilation, no bias, overlapping pools."""
    b = Builder(1)
    x = b.node("Conv", "input", b.normal(4, 3, 3), b.normal(4), name="a", pads=[2, 0], strides=[2])
    x = b.node("Relu", x)
    x = b.node("MaxPool", x, kernel_shape=[3], strides=[1], pads=[1, 1])
    y = b.node("Conv", x, b.normal(4, 2, 2), name="b", group=2, dilations=[2], pads=[1, 1])
    x = b.node("Add", x, y)
    x = b.node("AveragePool", x, kernel_shape=[3], strides=[2], pads=[1, 0])
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    x = b.node("Gemm", x, b.normal(5, 4), b.normal(5), name="head", transB=1)
    return b.save(path, x, (3, 15)), (3, 15)


def net_2d(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Depthwise, batch norm, Clip, counted padding, ReduceMean + Reshape, an untransposed Gemm, a final Softmax."""
    b = Builder(2)
    x = b.node("Conv", "input", b.normal(4, 2, 3, 3), name="a", pads=[1, 0, 2, 1], strides=[2, 1])
    norm = [
        np.float32(b.rng.uniform(0.5, 2, 4)),
        *np.float32(b.rng.normal(size=(2, 4))),
        np.float32(b.rng.uniform(0.5, 2, 4)),
    ]
    x = b.node("BatchNormalization", x, *[b.constant(value) for value in norm])
    x = b.node(
        "Clip", x, b.constant(np.float32(-1)), b.constant(np.full(1, 2, np.float32))
    )  # exporters write limits of shape () and (1,)
    x = b.node("Conv", b.node("Identity", x), b.normal(4, 1, 3, 3), b.normal(4), name="b", group=4, pads=[1] * 4)
    x = b.node("AveragePool", x, kernel_shape=[2, 3], pads=[1, 1, 0, 1], count_include_pad=1)
    x = b.node("Reshape", b.node("ReduceMean", x, axes=[2, 3]), b.constant(np.array([-1, 4])))
    x = b.node("Gemm", x, b.normal(4, 3), b.normal(3), name="head")
    return b.save(path, b.node("Softmax", x), (2, 7, 6)), (2, 7, 6)


NETS = {"1d": net_1d, "2d": net_2d}


def softmax(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    exponent: np.ndarray[Any, Any] = np.exp(x - x.max(1, keepdims=True))
    share: np.ndarray[Any, Any] = exponent / exponent.sum(1, keepdims=True)
    return share


@pytest.mark.parametrize("kind", sorted(NETS))
def test_forward_equals_onnxruntime(kind: str, tmp_path: Path) -> None:
    path, shape = NETS[kind](tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    expected = ort.InferenceSession(str(path)).run(None, {"input": x})[0]
    got = FloatGraph.load(path).forward(x)
    np.testing.assert_allclose(softmax(got) if kind == "2d" else got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("subject", [2, 10])
def test_watch_forward_equals_onnxruntime(subject: int) -> None:
    path = WATCH / f"watch-unseen-{subject}.onnx"
    x = np.random.default_rng(0).normal(size=(16, 6, 100)).astype(np.float32)
    expected = ort.InferenceSession(str(path)).run(None, {"input": x})[0]
    np.testing.assert_allclose(FloatGraph.load(path).forward(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(NETS))
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_gradients_equal_finite_differences(kind: str, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path, shape = NETS[kind](tmp_path_factory.mktemp("net") / "net.onnx")
    graph = FloatGraph.load(path, np.float64)
    rng = np.random.default_rng(seed)
    for layer in graph.layers.values():  # another network at every example
        layer.weight = rng.normal(size=layer.weight.shape)
    x, y = rng.normal(size=(2, *shape)), rng.integers(0, 3, 2)
    output, tape = graph.record(x)
    wanted = {name: (True, layer.bias is not None) for name, layer in graph.layers.items()}
    gradients = graph.backward(ff.cross_entropy(output, y)[1], tape, wanted)
    assert gradients.keys() == graph.layers.keys()
    for name, layer in graph.layers.items():
        for value, gradient in zip((layer.weight, layer.bias), gradients[name], strict=True):
            if value is not None and gradient is not None:
                _check_gradient(graph, x, y, value, gradient)


def _check_gradient(graph: FloatGraph, x: Any, y: Any, value: Any, gradient: Any) -> None:
    """Central differences at a few elements; across a kink (Relu, Clip, MaxPool) the two sides differ."""
    step = 1e-6
    middle = ff.cross_entropy(graph.forward(x), y)[0]
    flat = value.reshape(-1)
    assert np.shares_memory(flat, value)
    for index in range(0, flat.size, max(1, flat.size // 6)):
        kept = flat[index]
        flat[index] = kept + step
        above = ff.cross_entropy(graph.forward(x), y)[0]
        flat[index] = kept - step
        below = ff.cross_entropy(graph.forward(x), y)[0]
        flat[index] = kept
        right, left = (above - middle) / step, (middle - below) / step
        expected, slack = (right + left) / 2, abs(right - left) / 2 + 1e-6
        assert abs(gradient.reshape(-1)[index] - expected) <= slack + 1e-5 * abs(expected)


def test_only_wanted_parameters_get_gradients_and_change(tmp_path: Path) -> None:
    path, shape = net_1d(tmp_path / "net.onnx")
    before, rng = FloatGraph.load(path), np.random.default_rng(0)
    data = rng.normal(size=(6, *shape)).astype(np.float32), rng.integers(0, 5, 6)
    mask = np.zeros((1, 2, 1), np.float32)
    mask[:, 0] = 1  # half of the input channels

    def choose(layer: Layer) -> tuple[ff.Mask, ff.Mask]:
        return (mask if layer.name == "b" else False), layer.name == "a"

    after = ff.finetune(path, data, data, 2, 0.05, trainable=choose).graph
    changed = after.layers["b"].weight != before.layers["b"].weight
    assert changed[:, 0].all()
    assert not changed[:, 1].any()
    np.testing.assert_array_equal(after.layers["a"].weight, before.layers["a"].weight)
    assert after.layers["a"].bias is not None
    assert (after.layers["a"].bias != before.layers["a"].bias).any()
    np.testing.assert_array_equal(after.layers["head"].weight, before.layers["head"].weight)


@pytest.mark.parametrize("trainable", ["all", "biases", "head"])
def test_training_lowers_the_loss_and_repeats(trainable: str, tmp_path: Path) -> None:
    path, shape = net_1d(tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(20, *shape)).astype(np.float32), rng.integers(0, 5, 20)
    first, again = (ff.finetune(path, data, data, 20, 0.005, seed=3, trainable=trainable) for _ in range(2))
    assert first.steps == 400
    assert first.losses == again.losses
    assert first.losses[-1] < 0.9 * first.losses[0]


def test_fresh_head(tmp_path: Path) -> None:
    path, shape = net_1d(tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, *shape)).astype(np.float32), np.arange(8) % 2
    result = ff.finetune(path, data, data, 20, 0.05, trainable="head", classes=2)
    assert result.accuracy_before == 0.5  # zeros everywhere: always class 0
    assert result.losses[-1] < np.log(2)


def test_schedules() -> None:
    assert [ff.learning_rate("linear", 1.0, step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    np.testing.assert_allclose([ff.learning_rate("cosine", 2.0, step, 4) for step in (0, 2, 4)], [2, 1, 0], atol=1e-12)
    assert ff.learning_rate("constant", 0.1, 3, 4) == 0.1


def test_bad_input_is_told(tmp_path: Path) -> None:
    path, shape = net_1d(tmp_path / "net.onnx")
    x, y = np.zeros((2, *shape), np.float32), np.array([0, 5])
    with pytest.raises(ValueError, match="labels run from 0 to 5"):
        ff.finetune(path, (x, y), (x, y), 1, 0.1)
    with pytest.raises(ValueError, match="no training scheme 'most'"):
        ff.finetune(path, (x, y % 5), (x, y % 5), 1, 0.1, trainable="most")
    b = Builder(0)
    b.save(path, b.node("Sigmoid", "input", name="gate"), (3,))
    with pytest.raises(GraphError, match="'gate'.*Sigmoid"):
        FloatGraph.load(path)


@pytest.mark.parametrize(
    ("stride", "dilation", "pads"), [(1, 1, (1, 1, 1, 1)), (2, 1, (0, 1, 2, 0)), (1, 2, (2, 2, 1, 3))]
)
def test_depthwise_convolution_is_a_grouped_one(stride: int, dilation: int, pads: tuple[int, int, int, int]) -> None:
    """Tap by tap as by im2col: output and all gradients."""
    random = np.random.default_rng(0)
    window = Window((3, 2), (stride, stride), (dilation, dilation), pads)
    layer = Layer("conv", random.standard_normal((5, 1, 3, 2)), random.standard_normal(5))
    x, found = random.standard_normal((2, 5, 8, 7)), []
    for op in (Conv(window, 5), DepthwiseConv(window)):
        y, cache = op.forward([x], layer)
        dy = np.cos(np.arange(y.size)).reshape(y.shape)
        found.append([y, *op.backward(dy, cache, layer), *op.parameter_gradients(dy, cache, layer, (True, True))])
    for grouped, depthwise in zip(*found, strict=True):
        np.testing.assert_allclose(depthwise, grouped, rtol=1e-12, atol=1e-12)
