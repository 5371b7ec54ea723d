"""onnxruntime's quantiser with every option that it has."""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import onnxruntime.quantization as ort

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Options:
    """How quantize_static is called."""

    form: str  # QDQ or QOperator
    activations: str  # QInt8 or QUInt8
    symmetric: bool
    per_channel: bool
    weights: str = "QInt8"
    weight_zero: bool = False  # WeightSymmetric=False: weights have a zero point

    def __str__(self) -> str:
        grid = "symmetric" if self.symmetric else "asymmetric"
        zero = f"-{self.weights}-zero" if self.weight_zero else ""
        return f"{self.form}-{self.activations}-{grid}-{'channel' if self.per_channel else 'tensor'}{zero}"


OPTIONS = [
    Options(*which)
    for which in itertools.product(("QDQ", "QOperator"), ("QInt8", "QUInt8"), (False, True), (True, False))
] + [
    Options(form, kind, False, per_channel, kind, weight_zero=True)
    for form, kind, per_channel in itertools.product(("QDQ", "QOperator"), ("QInt8", "QUInt8"), (True, False))
]


def samples(model: onnx.ModelProto, seed: int, n: int) -> Array:
    """n normally distributed inputs (n, *input) with a mean of a third, so that grids are not symmetric by chance."""
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return (np.random.default_rng(seed).standard_normal((n, *dims[1:])) + 1 / 3).astype(np.float32)


class _Reader(ort.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, x: Array) -> None:
        self.rest: Iterator[Array] = iter(x)

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self.rest, None)
        return None if sample is None else {"x": sample[None]}


def quantized(model: onnx.ModelProto, x: Array, options: Options) -> onnx.ModelProto:
    """quantize_static(model) calibrated on x.

    With uint8 activations int8 weights have 7 bits: onnxruntime's kernels for x86 without VNNI add pairs of products in
    saturating int16, which 8 bits overflow; the integers of such a run are wrong. Those for uint8 weights are exact.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.helper.set_model_props(copy, {"onnx.quant.pre_process": "onnxruntime.quant"})
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "q.onnx"
            ort.quantize_static(
                copy,
                path,
                _Reader(x),
                quant_format=ort.QuantFormat[options.form],
                per_channel=options.per_channel,
                reduce_range=(options.activations, options.weights) == ("QUInt8", "QInt8"),
                activation_type=ort.QuantType[options.activations],
                weight_type=ort.QuantType[options.weights],
                extra_options={
                    "ActivationSymmetric": options.symmetric,
                    "WeightSymmetric": not options.weight_zero,
                    "ForceQuantizeNoInputCheck": True,
                },
            )
            return onnx.load(path)
    finally:
        logging.disable(level)
        onnxruntime.set_default_logger_severity(2)
