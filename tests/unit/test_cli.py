"""Bad input: one sentence, exit code 2, nothing written. The sentence says what, where and what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cli_support import Terminal, network, nothing_written, terminal, write_model, write_samples
from frontend_graphs import Builder

__all__ = ["terminal"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def calib(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "calib.npz")


def _refused(terminal: Terminal, model: Path, *more: str | Path) -> str:
    return terminal.refuses("compile", model, "-o", "out", *more)


# ---- the model ------------------------------------------------------------------------------------------------------
def _broken(kind: str) -> bytes:
    whole: bytes = network().SerializeToString()
    return {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "one byte short": whole[:-1],
        "an image": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "text": b"not a model\n" * 40,
    }[kind]


@pytest.mark.parametrize("command", ["inspect", "quantize", "compile"])
@pytest.mark.parametrize("kind", ["empty", "truncated", "one byte short", "an image", "text"])
def test_no_onnx_file(terminal: Terminal, tmp_path: Path, calib: Path, command: str, kind: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(_broken(kind))
    more: dict[str, list[str | Path]] = {
        "inspect": [],
        "quantize": ["--data", calib, "-o", "q.onnx"],
        "compile": ["--data", calib, "-o", "out"],
    }
    sentence = terminal.refuses(command, path, *more[command])
    assert "model.onnx is not a" in sentence
    assert re.search("truncated|no operators|export it again", sentence)


@pytest.mark.parametrize("path", ["missing.onnx", "folder"])
def test_missing_model(terminal: Terminal, tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    assert _refused(terminal, Path(path)).startswith(f"{path} ")


def test_unknown_operator(terminal: Terminal, tmp_path: Path, calib: Path) -> None:
    path = write_model(tmp_path / "model.onnx", network(last="Sigmoid"))
    sentence = _refused(terminal, path, "--data", calib)
    assert sentence == (
        "node 'stem.act' (Sigmoid): operator Sigmoid is not supported; use Relu, or Clip, in its place and train the "
        "model with it"
    )


def test_inspect_prints_what_is_unsupported(terminal: Terminal, tmp_path: Path) -> None:
    answer = terminal("inspect", write_model(tmp_path / "model.onnx", network(last="Sigmoid")))
    assert answer.code == 2
    assert answer.err == ""
    assert "\nstem.act (Sigmoid): operator Sigmoid is not supported; " in answer.out
    assert answer.out.count("operator Sigmoid is not supported") == 1
    assert "\nNot supported: 1 of " in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_dynamic_shape(terminal: Terminal, tmp_path: Path, calib: Path) -> None:
    path = write_model(tmp_path / "model.onnx", network(("batch", 2, "time")))
    assert "dynamic dimension 2 ('time'); only the batch may be dynamic" in _refused(terminal, path, "--data", calib)


@pytest.mark.parametrize(("kind", "word"), [(onnx.TensorProto.FLOAT16, "float16"), (onnx.TensorProto.INT64, "int64")])
def test_other_input_types(terminal: Terminal, tmp_path: Path, calib: Path, kind: int, word: str) -> None:
    b = Builder()
    path = write_model(tmp_path / "model.onnx", b.model((1, 2, 8), b.node("Flatten", "x"), kind=kind))
    assert f"input 'x' has the type {word}" in _refused(terminal, path, "--data", calib)


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64])
def test_other_activation_types(terminal: Terminal, tmp_path: Path, calib: Path, kind: int) -> None:
    b = Builder()
    x = b.node("Cast", b.node("Relu", "x"), name="narrow", to=kind)
    x = b.node("Cast", b.node("Add", x, x), name="widen", to=onnx.TensorProto.FLOAT)
    path = write_model(tmp_path / "model.onnx", b.model((1, 2, 8), b.node("Flatten", x)))
    assert _refused(terminal, path, "--data", calib).startswith("node 'narrow' (Cast): ")


@pytest.mark.parametrize("location", ["/etc/hostname", "../weights.bin", "link.bin", "absent.bin"])
def test_external_data_stays_in_the_folder(terminal: Terminal, tmp_path: Path, calib: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(96))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    model = network()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    sentence = _refused(terminal, write_model(folder / "m.onnx", model), "--data", calib)
    assert f"tensor '{weight.name}': external data '{location}'" in sentence


def test_a_float_model_wants_data(terminal: Terminal, model: Path) -> None:
    assert "give calibration data with --data CALIB.npz" in _refused(terminal, model)


def test_classes_need_a_classifier(terminal: Terminal, tmp_path: Path, calib: Path) -> None:
    b = Builder()
    x = b.node("Conv", "x", b.random(4, 2, 3), name="stem")
    path = write_model(tmp_path / "model.onnx", b.model((1, 2, 8), b.node("Relu", x)))
    sentence = _refused(terminal, path, "--data", calib, "--classes", "4", "--train", "head")
    assert "not in a Gemm or a 1x1 Conv" in sentence


# ---- calibration data -----------------------------------------------------------------------------------------------
GOOD = np.zeros((8, 2, 8), np.float32)
SPOILT = GOOD.copy()
SPOILT[5, 1, 2] = np.nan


@pytest.mark.parametrize("command", ["quantize", "compile"])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (GOOD[:, :, :7], "x has the shape (8, 2, 7), the model's input wants (n, 2, 8)"),
        (GOOD[0], "x has the shape (2, 8), the model's input wants (n, 2, 8)"),
        (GOOD[:0], "x holds no samples"),
        (SPOILT, "sample 5 of x holds NaN or infinity"),
        (GOOD.astype("U1"), "x has the type <U1"),
    ],
)
def test_calibration_data(
    terminal: Terminal, tmp_path: Path, model: Path, command: str, x: np.ndarray[Any, Any], words: str
) -> None:
    data = write_samples(tmp_path / "calib.npz", x=x)
    target = "q.onnx" if command == "quantize" else "out"
    assert words in terminal.refuses(command, model, "-o", target, "--data", data)


def _not_npz(kind: str, path: Path) -> None:
    if kind == "text":
        path.write_text("x = 1\n", encoding="utf-8")
    elif kind == "empty file":
        path.touch()
    elif kind == "truncated":
        path.write_bytes(write_samples(path).read_bytes()[:200])
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, GOOD)
    elif kind == "pickled":
        np.savez(path, x=np.array([{"a": 1}, None], dtype=object))
    elif kind == "no x":
        np.savez(path, data=GOOD)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    "kind", ["text", "empty file", "truncated", "npy", "pickled", "no x", "folder", "nothing there"]
)
def test_data_that_is_no_npz(terminal: Terminal, tmp_path: Path, model: Path, kind: str) -> None:
    _not_npz(kind, tmp_path / "calib.npz")
    sentence = _refused(terminal, model, "--data", "calib.npz")
    assert sentence.startswith("calib.npz ")
    assert "unsafe" not in sentence  # numpy's advice for what may be a pickle


# ---- schemes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[bias]\nlayers = ["stam"]', "layer 'stam' is not in the model; did you mean 'stem'?"),
        ("[weight]\nstern = 0.5", "layer 'stern' is not in the model; did you mean 'stem'?"),
        ("[weight]\nstem = 1.5", "a share lies in (0, 1]"),
        ("[weight]\nstem = { inputs = [2] }", "channel 2 is not in 0..1"),
        ("[weight]\nstem = { inputs = [1, 1] }", "repeats a channel"),
        ("head = false", "scheme.toml trains nothing"),
        ("head = maybe", "not valid TOML"),
        ("[bias\n", "not valid TOML"),
        ('errors = "int4"', "'errors': "),
        ("tail = true", "'tail': no such key; see"),
        ("[weigth]\nstem = 0.5", "'weigth': no such key; did you mean 'weight'?"),
        ("[bias]\nlast = -1", "'bias.last': "),
    ],
)
def test_schemes(terminal: Terminal, tmp_path: Path, model: Path, calib: Path, text: str, words: str) -> None:
    (tmp_path / "scheme.toml").write_text(text, encoding="utf-8")
    assert words in _refused(terminal, model, "--data", calib, "--train", "scheme.toml")


def test_scheme_that_is_not_utf8(terminal: Terminal, tmp_path: Path, model: Path, calib: Path) -> None:
    (tmp_path / "scheme.toml").write_bytes(b"# caf\xe9\nhead = true\n")
    assert "not valid TOML" in _refused(terminal, model, "--data", calib, "--train", "scheme.toml")


def test_scheme_that_is_not_there(terminal: Terminal, model: Path, calib: Path) -> None:
    sentence = _refused(terminal, model, "--data", calib, "--train", "heads")
    assert "'heads' is neither a TOML file nor one of all, head, biases, none" in sentence


# ---- the board ------------------------------------------------------------------------------------------------------
def test_unknown_board(terminal: Terminal, model: Path, calib: Path) -> None:
    assert "did you mean mps2-an386?" in _refused(terminal, model, "--data", calib, "--board", "mps2-an368")
    assert "did you mean mps2-an500?" in terminal.refuses("inspect", model, "--board", "mps2-a500")


def test_over_sram(terminal: Terminal, tmp_path: Path) -> None:
    b = Builder()
    x = b.node("Conv", "x", b.random(40, 2, 3), name="wide", pads=[1, 1])
    x = b.node("Conv", b.node("Relu", x), b.random(4, 40, 3), name="narrow", pads=[1, 1])
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    head = b.node("Gemm", x, b.random(3, 4), name="head", transB=1)
    path = write_model(tmp_path / "model.onnx", b.model((1, 2, 8000), head))
    data = write_samples(tmp_path / "calib.npz", x=np.random.default_rng(0).random((2, 2, 8000)))
    sentence = _refused(terminal, path, "--data", data)
    assert re.search(r"needs \d+ bytes of SRAM and mps2-an386 has 262144: the arena peaks at layer 'narrow' ", sentence)
    assert "wide.y 320000" in sentence
    answer = terminal("inspect", path)
    assert answer.code == 2
    assert "Does not fit mps2-an386" in answer.out
    terminal.succeeds("compile", path, "--data", data, "-o", "out", "--board", "host")


def test_over_flash(terminal: Terminal, tmp_path: Path, calib: Path) -> None:
    b = Builder()
    x = b.node("Gemm", b.node("Flatten", "x"), b.random(1100, 16), name="up", transB=1)
    x = b.node("Gemm", b.node("Relu", x), b.random(1000, 1100), name="across", transB=1)
    path = write_model(tmp_path / "model.onnx", b.model((1, 2, 8), x))
    sentence = _refused(terminal, path, "--data", calib)
    assert re.search(r"needs about \d+ bytes of flash \(11\d{5} of constants\) and mps2-an386 has 1048576", sentence)


# ---- the output -----------------------------------------------------------------------------------------------------
def test_output_that_is_not_ours(terminal: Terminal, tmp_path: Path, model: Path, calib: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work", encoding="utf-8")
    assert "out holds files that mcugrad did not write" in _refused(terminal, model, "--data", calib)
    (out / "manifest.json").write_text('{"generator": "npm", "files": ["thesis.txt"]}', encoding="utf-8")
    assert "out holds files that mcugrad did not write" in _refused(terminal, model, "--data", calib)


def test_output_that_is_a_file_or_nowhere(terminal: Terminal, tmp_path: Path, model: Path, calib: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert "file is a file" in terminal.refuses("compile", model, "--data", calib, "-o", "file")
    assert "a/b does not exist" in terminal.refuses("compile", model, "--data", calib, "-o", "a/b/c")
    assert "give -o an .onnx file" in terminal.refuses("quantize", model, "--data", calib, "-o", "a/q.onnx")
    assert "is the model itself" in terminal.refuses("quantize", model, "--data", calib, "-o", model)
    write_model(tmp_path / "mine.onnx")
    assert "mine.onnx exists" in terminal.refuses("quantize", model, "--data", calib, "-o", "mine.onnx")


# ---- words ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["compile"], "Missing argument 'MODEL.onnx'"),
        (["compile", "model.onnx"], "Missing option '-o' / '--output'"),
        (["comple"], "No such command 'comple'"),
        (["run", "out", "--epochs", "0"], "--epochs"),
        (["run", "out", "--lr", "fast"], "--lr"),
        (["compile", "model.onnx", "-o", "out", "--loss", "hinge"], "--loss"),
        (["run", "out", "--seed", "-1"], "--seed"),
        (["run", "out"], "out has no manifest.json"),
        (["bench", "out"], "out has no manifest.json"),
        (["export", "out", "--as", "make", "-o", "lib"], "'--as': 'make' is not one of 'cmake'"),
        (["connect", "/dev/null", "train"], "see `mcugrad connect PORT train -h`"),
    ],
)
def test_words(terminal: Terminal, words: list[str], reason: str) -> None:
    assert reason in terminal.refuses(*words)


@pytest.mark.parametrize(
    "words", [["run"], ["bench"], ["export", "--as", "cmake", "-o", "lib"], ["flash", "--board", "nano33ble"]]
)
def test_the_model_where_its_folder_is_wanted(terminal: Terminal, model: Path, words: list[str]) -> None:
    assert "model.onnx is a file: give the folder" in terminal.refuses(words[0], model.name, *words[1:])


@pytest.mark.parametrize("command", ["inspect", "quantize", "compile", "run", "bench"])
def test_help_fits_a_terminal(terminal: Terminal, command: str) -> None:
    text = terminal.succeeds(command, "-h")
    assert text.startswith(
        f"Usage: mcugrad {command} [OPTIONS] {'DIR' if command in ('run', 'bench') else 'MODEL.onnx'}\n"
    )
    assert max(map(len, text.splitlines())) <= 80
    assert "<path>" not in text
    overview = terminal.succeeds("-h")
    assert command in overview
    assert "..." not in overview.split("Commands:")[1]


@pytest.mark.parametrize("words", [["compile", "missing.onnx", "-o", "out"], ["inspect", "text.onnx"], ["run", "."]])
def test_as_a_process(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "text.onnx").write_text("no model", encoding="utf-8")
    with nothing_written(tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "mcugrad", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"mcugrad: error: [^\n]+\n", done.stderr)


def test_refusals_while_the_graph_is_built_are_quiet(terminal: Terminal, tmp_path: Path) -> None:
    b = Builder()
    path = write_model(
        tmp_path / "model.onnx",
        b.model((1, 2, 40000), b.node("Gemm", b.node("Flatten", "x"), b.random(3, 80000), name="wide", transB=1)),
    )
    data = write_samples(tmp_path / "calib.npz", x=np.random.default_rng(0).random((2, 2, 40000)))
    assert "accumulator" in _refused(terminal, path, "--data", data)


def test_sram_that_is_no_size_or_too_little(terminal: Terminal, model: Path, calib: Path) -> None:
    assert "'9x' is no size: give bytes, such as 98304 or 96K" in _refused(
        terminal, model, "--data", calib, "--ram", "9x"
    )
    sentence = _refused(terminal, model, "--data", calib, "--train", "all", "--ram", "4K")
    assert re.search(r"needs \d+ bytes of SRAM and --ram allows 4096: the arena peaks at layer", sentence)


def test_flash_that_is_too_little(terminal: Terminal, model: Path, calib: Path) -> None:
    sentence = _refused(terminal, model, "--data", calib, "--flash", "8K")
    assert re.search(r"needs about \d+ bytes of flash \(\d+ of constants\) and --flash allows 8192: take a ", sentence)
