"""A convolution fused with the depthwise convolution behind it computes the same bits in less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emitted_models import Emitted
from frontend_graphs import Builder
from graphs import imported
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model
from mcugrad.program import Program

FUSED = "mg_conv2d_depthwise_s8"


def _conv(b: Builder, x: str, weight: tuple[int, ...], name: str, **attrs: Any) -> str:
    y = b.node("Conv", x, b.random(*weight, scale=0.4), b.random(weight[0], scale=0.2), name=name, **attrs)
    return b.node("Relu", y)


def _bottleneck(seed: int, stride: int, multiplier: int) -> Model:
    """Two pairs, 1x1 and 3x3 before depthwise, then the classifier."""
    b = Builder(seed=seed)
    pads = [1, 0, 1, 2]
    y = _conv(b, "x", (24, 5, 1, 1), "expand")
    y = _conv(b, y, (24 * multiplier, 1, 3, 3), "depthwise", group=24, strides=[1, stride], pads=pads)
    y = _conv(b, y, (7, 24 * multiplier, 3, 3), "stem", strides=[2, 1])
    y = _conv(b, y, (7, 1, 3, 2), "second", group=7, dilations=[1, 2])
    y = b.node("Flatten", b.node("GlobalAveragePool", y))
    y = b.node("Gemm", y, b.random(4, 7), b.random(4), name="head", transB=1)
    model = b.model((1, 5, 9, 11), y)
    return imported(model, f"fused_{seed}")


def _kernels(program: Program) -> list[str]:
    return [call.kernel for call in program.calls]


@pytest.mark.parametrize(("seed", "stride", "multiplier"), [(0, 1, 1), (1, 2, 1), (2, 2, 2)])
def test_the_same_bits_without_the_tensor_between(seed: int, stride: int, multiplier: int, tmp_path: Path) -> None:
    model = _bottleneck(seed, stride, multiplier)
    plain, fused = (compile_model(model, "none", fuse=fuse).program for fuse in (False, True))
    assert _kernels(fused).count(FUSED) == 2
    assert FUSED not in _kernels(plain)
    assert fused.arena_bytes < plain.arena_bytes
    rng = np.random.default_rng(seed)
    samples = rng.integers(-128, 128, (8, *model.input_shape[1:])).astype(np.int8)
    outputs = []
    for name, program in (("plain", plain), ("fused", fused)):
        folder = tmp_path / name
        folder.mkdir()
        emitted = Emitted(folder)
        emitted.add(model, program)
        emitted.build()
        outputs.append(np.stack([emitted.predict(model.name, x) for x in samples]))
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_a_tensor_that_the_backward_reads_stays() -> None:
    model = _bottleneck(3, 1, 1)
    program = compile_model(model, "all").program
    assert FUSED not in _kernels(program)
