"""A compiled network with side branches and a mixed scheme, for the tests of the HTML report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from graphs import residual_2d, samples
from mcugrad.pipeline import Options, compile_file

SCHEME = """
[bias]
last = 3
[weight]
point = 0.5
dilated = { outputs = [0, 2, 5] }
"""


def compile_page(folder: Path, train: str = SCHEME, board: str = "mps2-an386") -> tuple[dict[str, Any], str]:
    """Manifest and report of `residual_2d`, compiled inside `folder`; `train` is a preset or a TOML file's text."""
    graph = residual_2d()
    onnx.save(graph, folder / "net.onnx")
    np.savez(folder / "calib.npz", x=samples(graph))
    if "\n" in train:
        (folder / "scheme.toml").write_text(train)
        train = str(folder / "scheme.toml")
    options = Options(board, folder / "calib.npz", train)
    compile_file(folder / "net.onnx", folder / "net", options, ["mcugrad", "compile", "net.onnx"], folder / "net.html")
    return json.loads((folder / "net" / "manifest.json").read_text()), (folder / "net.html").read_text()
