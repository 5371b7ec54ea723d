"""The builders write the published graphs, at other sizes too, and the training schemes fit them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper

from mcugrad import frontend
from mcugrad.errors import McugradError
from mcugrad.graph import Model
from mcugrad.pipeline import Loss, Options, compile_file, import_graph
from mcugrad.scheme import load_scheme, resolve
from models.architectures import autoencoder, ds_cnn, mcunet, mobilenetv1, mobilenetv2, proxylessnas
from models.architectures.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
# A missing file is a failure: nothing else says that the graphs are the published ones.
PUBLISHED = Path(os.environ.get("MCUGRAD_SHARED", ROOT.parent / "shared")) / "models"
SCHEMES = ROOT / "models" / "schemes"
Build = Callable[..., onnx.ModelProto]
Floats = npt.NDArray[np.float32]

FILES: dict[str, Build] = {
    "mcunet-5fps": mcunet,
    "mobilenetv2-w0.35": mobilenetv2,
    "proxylessnas-w0.3": proxylessnas,
    "mobilenetv1-0.25-vww96": mobilenetv1,
    "dscnn-kws": ds_cnn,
    "autoencoder-ad": autoencoder,
}
OTHERS: list[tuple[Build, dict[str, Any]]] = [
    (mcunet, {"width": 0.5, "resolution": 96, "classes": 10}),
    (mcunet, {"resolution": 33, "classes": 3}),
    (mobilenetv2, {"width": 1.0, "resolution": 64, "classes": 10}),
    (mobilenetv2, {"width": 0.1, "resolution": 50, "classes": 1}),
    (proxylessnas, {"width": 0.6, "resolution": 80, "classes": 10}),
    (mobilenetv1, {"width": 0.5, "resolution": 65, "classes": 10}),
    (mobilenetv1, {"width": 0.125, "resolution": 32, "classes": 2}),
    (ds_cnn, {"width": 0.5, "frames": 30, "coefficients": 13, "classes": 35}),
    (autoencoder, {"width": 0.5, "inputs": 100, "bottleneck": 3}),
]
SCHEMED: list[tuple[str, Build, dict[str, Any], str]] = [  # scheme, network, its arguments, board
    ("mcunet-49kb", mcunet, {"classes": 10}, "mps2-an386"),
    ("mobilenetv2-w0.35", mobilenetv2, {"classes": 10}, "mps2-an386"),
    ("proxylessnas-w0.3", proxylessnas, {"classes": 10}, "mps2-an386"),
    ("vww", mobilenetv1, {}, "mps2-an386"),
    ("kws", ds_cnn, {}, "mps2-an386"),
    ("autoencoder", autoencoder, {}, "mps2-an386"),
]


def _interface(model: onnx.ModelProto) -> list[tuple[str, list[Any]]]:
    return [
        (value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim])
        for value in (*model.graph.input, *model.graph.output)
    ]


def _nodes(model: onnx.ModelProto) -> list[tuple[Any, ...]]:
    return [
        (
            *(node.name, node.op_type, list(node.input), list(node.output)),
            {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute},
        )
        for node in model.graph.node
    ]


def _constants(model: onnx.ModelProto) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in model.graph.initializer]


def _clip_bounds(model: onnx.ModelProto) -> list[list[float]]:
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [[float(values[n][0]) for n in node.input[1:]] for node in model.graph.node if node.op_type == "Clip"]


def _samples(model: onnx.ModelProto, count: int) -> Floats:
    """Smooth pictures and noise in halves, in -1..1 (0..1 where the graph wants that), or noise of MFCC's size."""
    (name, shape), rng = _interface(model)[0], np.random.default_rng(7)
    noise = rng.standard_normal((count, *shape[1:]))
    if len(shape) == 2:
        return noise.astype(np.float32)
    if shape[1] == 1:
        return (8.5 * noise).astype(np.float32)
    side = math.ceil(shape[2] / 8)
    smooth = np.kron(rng.standard_normal((count, 3, 8, 8)), np.ones((side, side)))[..., : shape[2], : shape[3]]
    image = np.clip(0.35 * (smooth + noise), -1, 1)
    return (image if name == "image" else (image + 1) / 2).astype(np.float32)


def _run(model: onnx.ModelProto, x: Floats) -> dict[str, Floats]:
    """Outputs of all convolutions, products, sums, and the logits."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [node.output[0] for node in model.graph.node if node.op_type in ("Conv", "Gemm", "Add")]
    extra = [name for name in names if name != "logits"]
    shown.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in extra)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(["logits", *extra], {model.graph.input[0].name: x})
    return dict(zip(["logits", *extra], values, strict=True))


def _summary(model: onnx.ModelProto, folder: Path) -> frontend.Summary:
    onnx.save(model, folder / "model.onnx")
    return frontend.summarize(frontend.load_model(folder / "model.onnx"))


@pytest.mark.parametrize("name", FILES)
def test_the_graph_is_that_of_the_published_file(name: str, tmp_path: Path) -> None:
    published, built = onnx.load(PUBLISHED / f"{name}.float.onnx"), FILES[name]()
    assert _nodes(built) == _nodes(published)
    assert _constants(built) == _constants(published)
    assert _clip_bounds(built) == _clip_bounds(published)
    assert _interface(built) == _interface(published)
    assert (built.ir_version, built.opset_import) == (published.ir_version, published.opset_import)
    ours, theirs = _summary(built, tmp_path), _summary(published, tmp_path)
    assert (ours.macs, ours.params) == (theirs.macs, theirs.params)


@pytest.mark.parametrize("build", FILES.values())
def test_activations_of_a_fresh_network_stay_in_range(build: Build) -> None:
    for seed in range(2):
        model = build(seed=seed)
        for name, value in _run(model, _samples(model, 2)).items():
            assert 0.1 < np.sqrt(np.mean(np.square(value))) < 5, name
            assert np.abs(value).max() < 100, name


@pytest.mark.parametrize(("build", "arguments"), OTHERS)
def test_other_sizes_run_and_are_accepted(build: Build, arguments: dict[str, Any], tmp_path: Path) -> None:
    model = build(**arguments)
    logits = _run(model, _samples(model, 3))["logits"]
    assert logits.shape == (3, arguments.get("classes", arguments.get("inputs")))
    assert np.isfinite(logits).all()
    onnx.save(model, tmp_path / "model.onnx")
    frontend.prepare(frontend.load_model(tmp_path / "model.onnx"))
    assert _summary(model, tmp_path).supported


def test_names_of_layers_do_not_depend_on_the_size() -> None:
    for build, arguments in OTHERS:
        layers = [
            [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
            for model in (build(), build(**arguments))
        ]
        assert layers[0] == layers[1]


def test_a_seed_decides_the_weights() -> None:
    first, again, other = ds_cnn(seed=1), ds_cnn(seed=1), ds_cnn(seed=2)
    assert first.SerializeToString() == again.SerializeToString()
    assert first.graph.initializer[0].raw_data != other.graph.initializer[0].raw_data
    wider = ds_cnn(seed=1, classes=35)
    assert list(wider.graph.initializer)[:-2] == list(first.graph.initializer)[:-2]


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (mcunet, {"resolution": 31}, "resolution 31"),
        (mobilenetv2, {"width": 0.0}, "width 0"),
        (proxylessnas, {"width": math.nan}, "width nan"),
        (mobilenetv1, {"classes": 0}, "classes 0"),
        (ds_cnn, {"frames": 0}, "frames 0"),
        (autoencoder, {"bottleneck": 0}, "bottleneck 0"),
    ],
)
def test_impossible_sizes_are_refused(build: Build, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(McugradError, match=message):
        build(**arguments)


# ---- the command line -----------------------------------------------------------------------------------------------
def _command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["architectures", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_the_command_writes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcunet.onnx"
    assert _command(monkeypatch, "mcunet", "--classes", "10", "--resolution", "64", "-o", str(path)) == 0
    assert onnx.load(path) == mcunet(resolution=64, classes=10)
    assert "parameters" in capsys.readouterr().out


def test_the_command_knows_every_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for family in ("mcunet", "mobilenetv2", "proxylessnas", "mobilenetv1", "ds-cnn", "autoencoder"):
        path = tmp_path / f"{family}.onnx"
        assert _command(monkeypatch, family, "-o", str(path)) == 0
        assert path.is_file()


def test_a_mistake_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("--classes", "0", "-o", str(tmp_path / "m.onnx")), ("-o", str(tmp_path / "no" / "m.onnx"))):
        assert _command(monkeypatch, "mcunet", *words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


# ---- training schemes -----------------------------------------------------------------------------------------------
def _import(build: Build, arguments: dict[str, Any], tmp_path: Path) -> Model:
    proto = build(**arguments)
    onnx.save(proto, tmp_path / "net.onnx")
    np.savez(tmp_path / "calib.npz", x=_samples(proto, 2))
    options = Options("host", tmp_path / "calib.npz")
    return import_graph(frontend.load_model(tmp_path / "net.onnx"), "net", options, head="float32")


def _expands_on_8x8(model: onnx.ModelProto) -> list[str]:
    """Expand convolutions whose output has at least 8x8 positions, in order."""
    shapes = {name: value.shape for name, value in _run(model, _samples(model, 1)).items()}
    nodes = [node for node in model.graph.node if node.name.endswith(".expand")]
    return [node.name for node in nodes if min(shapes[node.output[0]][2:]) >= 8]


@pytest.mark.parametrize(
    ("scheme", "build", "first_bias", "inputs"),
    [
        ("mcunet-49kb", mcunet, "b07.depthwise", {"b08": 12, "b09": 24, "b10": 24}),
        ("mobilenetv2-w0.35", mobilenetv2, "b10.depthwise", {"b11": 16, "b12": 16, "b13": 16}),
        ("proxylessnas-w0.3", proxylessnas, "b13.depthwise", {"b13": 16, "b14": 16, "b15": 16}),
    ],
)
def test_the_reference_scheme(
    scheme: str, build: Build, first_bias: str, inputs: dict[str, int], tmp_path: Path
) -> None:
    model = _import(build, {"classes": 10}, tmp_path)
    selection = resolve(load_scheme(str(SCHEMES / f"{scheme}.toml")), model)
    trained = [model.parameter(name) for name in selection.names]
    body = [p for p in trained if not p.head]
    biases = [p.layer for p in body if p.value.ndim == 1]
    weights = {p.layer: selection.subset(p) for p in body if p.value.ndim > 1}
    before_head = [layer for layer in model.layers if layer != "head"]
    assert [p.value.shape[:2] for p in trained if p.head] == [(10, model.parameters[-2].value.shape[1]), (10,)]
    assert biases == before_head[-20:]
    assert biases[0] == first_bias
    assert list(weights) == _expands_on_8x8(build())[-3:]
    assert {layer[:3]: subset.inputs for layer, subset in weights.items()} == {k: ((0, n),) for k, n in inputs.items()}


@pytest.mark.parametrize(("scheme", "build", "arguments", "board"), SCHEMED)
def test_network_and_scheme_compile_to_a_folder(
    scheme: str, build: Build, arguments: dict[str, Any], board: str, tmp_path: Path
) -> None:
    proto = build(**arguments)
    onnx.save(proto, tmp_path / "net.onnx")
    np.savez(tmp_path / "calib.npz", x=_samples(proto, 2))
    loss: Loss = "mse" if build is autoencoder else "cross_entropy"
    options = Options(board, tmp_path / "calib.npz", str(SCHEMES / f"{scheme}.toml"), loss=loss)
    written = compile_file(tmp_path / "net.onnx", tmp_path / "out", options, ["test"])
    assert (tmp_path / "out" / "net.c").is_file()
    last = proto.graph.node[-1] if proto.graph.node[-1].op_type == "Gemm" else proto.graph.node[-2]
    layers = {written.compiled.model.parameter(name).layer for name in written.compiled.selection.names}
    assert last.name in layers


def test_every_scheme_is_tested() -> None:
    assert {path.stem for path in SCHEMES.glob("*.toml")} == {name for name, *_ in SCHEMED}
