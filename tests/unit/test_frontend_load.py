"""Every kind of bad model file ends in one sentence that names what, where and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from frontend_graphs import Builder, run
from mcugrad.errors import McugradError
from mcugrad.frontend import load_for_inspection, load_model, prepare, summarize


def _small(**conv: Any) -> Builder:
    b = Builder()
    b.node("Conv", "x", b.random(2, 3, 3, 3), out="y", name="first", kernel_shape=[3, 3], **conv)
    return b


def _save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _refused(path: Path, *words: str) -> str:
    with pytest.raises(McugradError) as caught:
        prepare(load_model(path))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


SHAPE = ("N", 3, 8, 8)


def test_dynamic_batch_becomes_one(tmp_path: Path) -> None:
    model = load_model(_save(_small().model(SHAPE, "y"), tmp_path))
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 8, 8]
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 2, 6, 6]


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x00" * 64, b"PK\x03\x04" + b"\xff" * 100])
def test_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    _refused(path, str(path), "not an ONNX model")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = _small().model(SHAPE, "y").SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        _refused(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    _refused(tmp_path / "none.onnx", "cannot be read")
    _refused(tmp_path, "not a file")


def _unknown(b: Builder) -> None:
    b.node("Frobnicate", "x", out="y", name="odd")


def _foreign(b: Builder) -> None:
    b.node("FusedConv", "x", b.random(2, 3, 1, 1), out="y", name="odd", domain="com.microsoft")


def _sigmoid(b: Builder) -> None:
    b.node("Sigmoid", "x", out="y", name="odd")


def _attribute(b: Builder) -> None:
    b.node("Relu", "x", out="y", name="odd", slope=1.0)


def _two_activations(b: Builder) -> None:
    b.node("Mul", "x", b.node("Relu", "x"), out="y", name="odd")


def _broadcast(b: Builder) -> None:
    b.node("Add", "x", b.node("GlobalAveragePool", "x"), out="y", name="odd")


def _attention(b: Builder) -> None:
    b.node("Relu", b.node("Softmax", "x", axis=-1, name="odd"), out="y")


def _reflect(b: Builder) -> None:
    b.node("Pad", "x", b.const([0, 0, 1, 1, 0, 0, 1, 1], "i8"), out="y", name="odd", mode="reflect")


def _crop(b: Builder) -> None:
    b.node("Pad", "x", b.const([0, 0, -1, 1, 0, 0, 1, 0], "i8"), out="y", name="odd")


def _training(b: Builder) -> None:
    b.node("Dropout", "x", b.const(0.5), b.const(True, "?"), out="y", name="odd")


def _half(b: Builder) -> None:
    half = b.node("Cast", "x", name="odd", to=TensorProto.FLOAT16)
    b.node("Cast", b.node("Relu", half), out="y", to=TensorProto.FLOAT)


def _integers(b: Builder) -> None:
    b.node("Cast", b.node("Cast", "x", name="odd", to=TensorProto.INT64), out="y", to=TensorProto.FLOAT)


def _weights_computed(b: Builder) -> None:
    b.node("Conv", "x", b.node("Reshape", "x", b.const([1, 3, 8, 8], "i8")), out="y", name="odd")


def _batch_joined(b: Builder) -> None:
    b.node("Concat", "x", "x", out="y", name="odd", axis=0)


def _nan(b: Builder) -> None:
    b.node("Conv", "x", b.const(np.full((1, 3, 1, 1), np.nan)), out="y", name="odd")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_unknown, ["Frobnicate", "not supported"]),
        (_foreign, ["com.microsoft.FusedConv", "not supported"]),
        (_sigmoid, ["Sigmoid", "use Relu"]),
        (_attribute, ["slope"]),
        (_two_activations, ["two activations"]),
        (_broadcast, ["broadcasts"]),
        (_attention, ["last operator"]),
        (_reflect, ["reflect"]),
        (_crop, ["[0, 0, -1, 1, 0, 0, 1, 0]", "crop the network's input"]),
        (_training, ["model.eval()"]),
        (_half, ["changes the type", "float32"]),
        (_integers, ["changes the type", "float32"]),
        (_weights_computed, ["weight is computed"]),
        (_batch_joined, ["batch"]),
        (_nan, ["NaN"]),
    ],
)
def test_unsupported_node_is_named(tmp_path: Path, build: Callable[[Builder], None], words: list[str]) -> None:
    b = Builder()
    build(b)
    path = _save(b.model(SHAPE, "y"), tmp_path)
    text = _refused(path, *words)
    if build is not _attribute:  # that sentence is onnx's checker's
        assert "'odd'" in text
        assert text.startswith(summarize(load_for_inspection(path)).problems[0])  # the text also counts the others


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.INT64, TensorProto.DOUBLE])
def test_input_types(tmp_path: Path, kind: int) -> None:
    b = Builder()
    b.node("Relu", "x", out="y")
    model = b.model(SHAPE, "y", kind=kind)
    model.graph.output[0].type.tensor_type.elem_type = kind
    _refused(_save(model, tmp_path), "'x'", TensorProto.DataType.Name(kind).lower(), "float32")


@pytest.mark.parametrize("shape", [(1, 3, "H", 8), (1, 3, 8, "W"), ("N", "C", 8, 8), (1, 3, 0, 8)])
def test_dynamic_dimensions(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    _refused(_save(_small().model(shape, "y"), tmp_path), "'x'", "dynamic dimension", "only the batch")


def test_batch_baked_into_a_reshape(tmp_path: Path) -> None:
    b = Builder()
    b.node("Reshape", "x", b.const([4, 192], "i8"), out="y")
    _refused(_save(b.model((4, 3, 8, 8), "y"), tmp_path), "batch 1")


@pytest.mark.parametrize("opset", [7, 10, 99])
def test_opsets(tmp_path: Path, opset: int) -> None:
    model = _small().model(SHAPE, "y")
    model.opset_import[0].version = opset
    _refused(_save(model, tmp_path), f"opset {opset}", "opset_version=17")


def test_two_inputs(tmp_path: Path) -> None:
    b = Builder()
    b.node("Add", "x", "z", out="y")
    model = b.model(SHAPE, "y")
    model.graph.input.append(helper.make_tensor_value_info("z", 1, SHAPE))
    _refused(_save(model, tmp_path), "'z'", "one input tensor")


def test_constant_bomb(tmp_path: Path) -> None:
    b = Builder()
    huge = b.node("ConstantOfShape", b.const([1 << 40, 3, 8, 8], "i8"), name="odd")
    b.node("Add", "x", huge, out="y")
    model = b.model(SHAPE, "y")
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, SHAPE))
    _refused(_save(model, tmp_path), "'odd'", "elements")


def test_unnamed_and_twice_named_nodes_get_stable_names(tmp_path: Path) -> None:
    b = Builder()
    y = b.node("Relu", "x", name="")
    y = b.node("LeakyRelu", y, name="same")
    b.node("LeakyRelu", y, out="y", name="same")
    model = load_model(_save(b.model(SHAPE, "y"), tmp_path))
    assert [node.name for node in model.graph.node] == ["Relu_0", "same", "same_2"]


def test_inspection_lists_all_that_is_missing(tmp_path: Path) -> None:
    b = Builder()
    b.node("Tanh", b.node("Sigmoid", "x", name="a"), out="y", name="b")
    path = _save(b.model(SHAPE, "y"), tmp_path)
    _refused(path, "'a'", "1 more")
    summary = summarize(load_for_inspection(path))
    assert [layer.name for layer in summary.layers if layer.problem] == ["a", "b"]
    assert not summary.supported


def test_inspection_shows_a_quantiser_that_is_not_supported(tmp_path: Path) -> None:
    b = Builder()
    scale = b.node("ReduceMax", "x", keepdims=0)
    b.node("Relu", b.node("DequantizeLinear", b.node("QuantizeLinear", "x", scale, name="q"), scale), out="y")
    summary = summarize(load_for_inspection(_save(b.model(SHAPE, "y"), tmp_path)))
    told = {layer.name: layer.problem for layer in summary.layers if layer.problem}
    assert len(told) == len(summary.problems)
    assert told["q"].startswith("its scale is computed")


# ---- external data --------------------------------------------------------------------------------------------------
def _external(folder: Path, location: str, **entries: str) -> Path:
    model = _small().model(SHAPE, "y")
    weight = model.graph.initializer[0]
    data = bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(len(data)), **entries}.items():
        weight.external_data.add(key=key, value=value)
    (folder / "inside").mkdir(parents=True)
    for name in ("model.onnx.data", "inside/weights.bin", "../outside.bin"):
        (folder / name).write_bytes(data)
    return _save(model, folder)


@pytest.mark.parametrize("location", ["model.onnx.data", "inside/weights.bin", "./model.onnx.data"])
def test_external_data_inside(tmp_path: Path, location: str) -> None:
    expected = _small().model((1, 3, 8, 8), "y")
    model = prepare(load_model(_external(tmp_path / "m", location)))
    x = np.ones((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(run(model, x), run(expected, x), rtol=1e-6)


@pytest.mark.parametrize("location", ["../outside.bin", "inside/../../outside.bin", "", "C:\\w.bin", "..\\outside.bin"])
def test_external_data_outside(tmp_path: Path, location: str) -> None:
    _refused(_external(tmp_path / "m", location), "inside the model's folder")


def test_external_data_absolute(tmp_path: Path) -> None:
    _refused(_external(tmp_path / "m", str(tmp_path / "outside.bin")), "inside the model's folder")


def test_external_data_behind_links(tmp_path: Path) -> None:
    path = _external(tmp_path / "m", "link.bin")
    (tmp_path / "m" / "link.bin").symlink_to(tmp_path / "outside.bin")
    _refused(path, "link that leads out")
    path = _external(tmp_path / "n", "away/outside.bin")
    (tmp_path / "n" / "away").symlink_to(tmp_path)
    _refused(path, "link that leads out")


@pytest.mark.parametrize(
    "entries", [{"offset": "8"}, {"offset": "-4"}, {"length": "4"}, {"length": "99999999999"}, {"offset": "one"}]
)
def test_external_data_of_the_wrong_size(tmp_path: Path, entries: dict[str, str]) -> None:
    _refused(_external(tmp_path / "m", "model.onnx.data", **entries), "external data")


def test_external_data_missing(tmp_path: Path) -> None:
    _refused(_external(tmp_path / "m", "nowhere.bin"), "missing")
