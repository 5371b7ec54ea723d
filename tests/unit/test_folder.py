"""The folder of a compiled model: replaced as a whole, the user's things kept, the same bytes wherever it is made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_support import Terminal, terminal, tree, write_model, write_samples
from mcugrad.emit.folder import write_folder
from mcugrad.emit.kernels import implementation
from mcugrad.errors import McugradError
from mcugrad.files import write_file

__all__ = ["terminal"]


def _manifest(*names: str) -> dict[str, str]:
    files = {name: f"content of {name}\n" for name in names}
    return {**files, "manifest.json": json.dumps({"generator": "mcugrad", "files": sorted(files)})}


def test_a_new_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", _manifest("a.c", "a.h"))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.c", "a.h", "manifest.json", "out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_folder(tmp_path, _manifest("a.c"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.c", "manifest.json"]


def test_an_earlier_folder_loses_only_what_was_generated(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, _manifest("a.c", "old_kernel.c"))
    (out / "build").mkdir()
    (out / "build" / "firmware.elf").write_bytes(b"\x7fELF")
    (out / "trained-1.npz").write_bytes(b"weights")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    mine = {k: v for k, v in tree(out).items() if k.startswith(("build", "trained", "notes"))}
    write_folder(out, _manifest("a.c", "new_kernel.c"))
    after = tree(out)
    assert {k: after[k] for k in mine} == mine
    assert set(after) - set(mine) == {"a.c", "new_kernel.c", "manifest.json"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_of_the_users_is_never_overwritten(tmp_path: Path) -> None:
    write_folder(tmp_path, _manifest("a.c"))
    (tmp_path / "b.c").write_text("mine", encoding="utf-8")
    before = tree(tmp_path)
    with pytest.raises(McugradError, match=r"b\.c is not mcugrad's, and that name is needed"):
        write_folder(tmp_path, _manifest("a.c", "b.c"))
    assert tree(tmp_path) == before


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, _manifest("a.c"))
    (tmp_path / "precious").write_text("mine", encoding="utf-8")
    doctored = {"generator": "mcugrad", "files": ["../precious", str(tmp_path / "precious"), "a.c"]}
    (out / "manifest.json").write_text(json.dumps(doctored), encoding="utf-8")
    write_folder(out, _manifest("b.c"))
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "mine"
    assert sorted(p.name for p in out.iterdir()) == ["b.c", "manifest.json"]


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_folder(tmp_path / "link", _manifest("a.c"))
    write_folder(tmp_path / "link", _manifest("b.c"))
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in (tmp_path / "real").iterdir()) == ["b.c", "manifest.json"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_disk_that_fills_up_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    out = tmp_path / "out"
    if exists:
        write_folder(out, _manifest("a.c"))
    before = tree(tmp_path)
    write = Path.write_bytes

    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        if self.name == "manifest.json":
            raise OSError(28, "No space left on device")
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(McugradError, match=r"out cannot be written \(No space left on device\)"):
        write_folder(out, _manifest("b.c"))
    assert tree(tmp_path) == before


def test_two_compilations_give_identical_bytes(tmp_path: Path) -> None:
    """From different folders, with different hash seeds and paths of different length."""
    results = []
    for seed, place in (("0", "here"), ("4242", "some where/else")):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        write_model(folder / "model.onnx")
        write_samples(folder / "calib.npz")
        command = ["compile", "model.onnx", "-o", "out", "--data", "calib.npz", "--train", "all"]
        subprocess.run(
            [sys.executable, "-m", "mcugrad", *command],
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        results.append(tree(folder / "out"))
    assert results[0] == results[1]
    assert "model.c" in results[0]


def test_a_core_without_the_dsp_extension_runs_portable_kernels() -> None:
    chosen = implementation("mg_conv2d_rows_s8", "cortex-m0", assembly=False)
    assert (chosen["implementation"], "cortex-m0" in chosen["why"]) == ("portable", True)


def test_the_manifest_says_everything(terminal: Terminal, tmp_path: Path) -> None:
    data = write_samples(tmp_path / "calib.npz")
    terminal.succeeds("compile", write_model(tmp_path / "model.onnx"), "-o", "out", "--data", data, "--train", "all")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["command"][:2] == ["mcugrad", "compile"]
    assert manifest["command"][-2:] == ["--train", "all"]
    assert set(manifest["versions"]) == {"mcugrad", "apache-tvm", "numpy", "onnx", "onnxruntime"}
    assert set(manifest["files"]) | {"manifest.json"} == {p.name for p in (tmp_path / "out").iterdir()}
    assert manifest["predicted"]["sram"]["total"] > manifest["arena_bytes"]
    assert manifest["predicted"]["flash"]["total"] > manifest["predicted"]["flash"]["const"]
    tensors = {t["name"]: t for t in manifest["tensors"]}
    calls = manifest["calls"]
    chosen = {c["kernel"]: c["implementation"] for c in calls}
    assert chosen["mg_mask_bits"] == "armv7em"
    assert chosen["mg_dense_f32"] == "portable"
    assert [c["index"] for c in calls] == list(range(len(calls)))
    for call in calls:
        assert call["kernel"].startswith("mg_")
        assert "cortex-m4" in call["why"] or call["implementation"] == "portable"
        assert set(call["reads"]) | set(call["writes"]) <= set(tensors)
    for tensor in tensors.values():
        assert {"dtype", "shape", "bytes", "kind"} <= set(tensor)
        assert "scale" in tensor or tensor["dtype"] not in ("int8", "int16")
        if tensor["kind"] in ("input", "activation", "error", "vector"):
            first, last = tensor["lifetime"]
            assert 0 <= first <= last < len(calls)
            assert 0 <= tensor["offset"] <= manifest["arena_bytes"] - tensor["bytes"]


def test_layers_carry_the_operators_of_the_onnx_graph(terminal: Terminal, tmp_path: Path) -> None:
    data = write_samples(tmp_path / "calib.npz")
    model = write_model(tmp_path / "model.onnx")
    for train in ("none", "all"):
        terminal.succeeds("compile", model, "-o", "out", "--data", data, "--train", train)
        calls = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["calls"]
        layers = {c["layer"]: c["op"] for c in reversed(calls) if c["phase"] == "forward"}
        shutil.rmtree(tmp_path / "out")
        assert (layers["stem"], layers["mean"], layers["head"]) == ("Conv", "GlobalAveragePool", "Gemm")


def test_a_file_that_cannot_be_written_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    """Not by the name of the scratch file that would have become it."""
    for path in (tmp_path, tmp_path / "missing" / "file"):
        with pytest.raises(OSError) as problem:
            write_file(path, b"content")
        assert (problem.value.filename, problem.value.filename2) == (str(path), None)
    assert not list(tmp_path.iterdir())
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))
