"""The pre-trained graphs (MCUGRAD_SHARED, default ../shared): prepared, they compute what they did."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from frontend_graphs import run
from mcugrad.frontend import is_quantized, load_for_inspection, load_model, prepare, summarize

MODELS = Path(os.environ.get("MCUGRAD_SHARED", Path(__file__).parents[2].parent / "shared")) / "models"
# name: parameters, MACs, largest input+output pair in bytes (as models/MODELS.md states them).
EXPECTED = {
    "autoencoder-ad.float": (265_864, 264_192, 768),
    "dscnn-kws.float": (22_604, 2_656_768, 16_000),
    "mcunet-5fps.float": (630_224, 22_613_504, 160 * 1024),
    "mcunet-5fps.int8": (630_224, 22_613_504, 160 * 1024),
    "mobilenetv1-0.25-vww96.float": (210_850, 7_489_664, 54 * 1024),
    "mobilenetv2-w0.35.float": (357_448, 16_758_912, 240 * 1024),
    "mobilenetv2-w0.35.int8": (357_448, 16_758_912, 240 * 1024),
    "proxylessnas-w0.3.float": (423_232, 18_715_904, 128 * 1024),
    "proxylessnas-w0.3.int8": (423_232, 18_715_904, 128 * 1024),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_model(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    assert path.is_file(), f"{path} is missing: set MCUGRAD_SHARED to the folder that holds models/"
    model = load_model(path)
    prepared = prepare(model)
    shape = [d.dim_value for d in prepared.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    expected = run(model, x)
    if is_quantized(model):
        np.testing.assert_array_equal(run(prepared, x), expected)
    else:
        np.testing.assert_allclose(run(prepared, x), expected, atol=1e-5 * float(np.abs(expected).max()))
    assert prepare(prepared).graph.node == prepared.graph.node
    summary = summarize(load_for_inspection(path))
    pair = summary.largest_pair
    assert pair is not None
    assert (summary.params, summary.macs, pair.input_bytes + pair.output_bytes) == EXPECTED[name]
    assert summary.supported
    assert summary.quantized == name.endswith("int8")
