"""Post-training quantisation of a float model by onnxruntime, and how far its answers are from the float model's."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mcugrad.errors import McugradError
from mcugrad.frontend.data import check_samples
from mcugrad.frontend.graph import Array
from mcugrad.frontend.normalise import is_quantized, prepare

_OPERATORS = [
    "Conv", "Gemm", "Relu", "Clip", "LeakyRelu", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool",
    "Reshape", "Transpose", "Pad",
]  # fmt: skip
_OPTIONS = {
    # Without this, operators behind an unquantised tensor (a Reshape of the input) would stay float.
    "ForceQuantizeNoInputCheck": True,
    "ActivationSymmetric": False,
    "WeightSymmetric": True,
}


@dataclass(frozen=True)
class Agreement:
    """int8 against float over `samples` samples: share of equal argmax (1.0 for one output), errors of the outputs."""

    samples: int
    argmax: float
    mean_abs_error: float
    snr_db: float


def quantize(model: onnx.ModelProto, x: Array) -> onnx.ModelProto:
    """Canonical QDQ (per-channel int8 weights, int8 activations) of a float model, calibrated on x (n, *input).

    Raises McugradError for unusable data and for a model that is quantised already.
    """
    if is_quantized(model):
        raise McugradError("the model is quantised already; give the float model, or compile this one as it is")
    float_model = prepare(model)
    samples = check_samples(x, float_model, "calibration data")
    return prepare(_quantize_static(float_model, samples))


def agreement(float_model: onnx.ModelProto, quantized: onnx.ModelProto, x: Array) -> Agreement:
    """Runs both models on x (n, *input) and compares their outputs."""
    samples = check_samples(x, float_model, "data")
    real, ours = (run_model(model, samples).reshape(len(samples), -1) for model in (float_model, quantized))
    error = (real - ours).astype(np.float64)
    power, noise = float((real.astype(np.float64) ** 2).mean()), float((error**2).mean())
    snr = float("inf") if noise == 0 else 10 * float(np.log10(max(power, 1e-300) / noise))
    same = float((real.argmax(axis=1) == ours.argmax(axis=1)).mean())
    return Agreement(len(samples), same, float(np.abs(error).mean()), snr)


def run_model(model: onnx.ModelProto, x: Array) -> Array:
    """onnxruntime's outputs (n, *output) for x (n, *input), one sample at a time: prepared models have batch 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[i : i + 1]})[0] for i in range(len(x))])


def _quantize_static(model: onnx.ModelProto, x: Array) -> onnx.ModelProto:
    import onnxruntime.quantization as ort

    name = model.graph.input[0].name

    class Reader(ort.CalibrationDataReader):
        """Yields one sample at a time."""

        def __init__(self) -> None:
            self.rest: Iterator[int] = iter(range(len(x)))

        def get_next(self) -> dict[str, Any] | None:
            at = next(self.rest, None)
            return None if at is None else {name: x[at : at + 1]}

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Says that shapes are inferred and constants folded, which prepare has done; otherwise a warning is printed.
    onnx.helper.set_model_props(copy, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory(prefix="mcugrad-") as folder, _quiet():
        out = Path(folder) / "quantized.onnx"
        try:
            ort.quantize_static(
                copy,
                out,
                Reader(),
                quant_format=ort.QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                per_channel=True,
                activation_type=ort.QuantType.QInt8,
                weight_type=ort.QuantType.QInt8,
                calibrate_method=ort.CalibrationMethod.MinMax,
                extra_options={**_OPTIONS, "QDQKeepRemovableActivations": _clips_away_from_zero(copy)},
            )
        except Exception as error:  # onnxruntime's quantiser raises ValueError, RuntimeError, its own Fail, ...
            text = " ".join(str(error).split())
            raise McugradError(f"onnxruntime cannot quantise the model ({text}); check the calibration data") from error
        return onnx.load(out)


def _clips_away_from_zero(model: onnx.ModelProto) -> bool:
    """Whether a Clip's range leaves zero out.

    onnxruntime drops a Clip and lets the calibrated range do its work, but that range always reaches to zero. Such a
    model keeps its Clips, at the price of one more rounding each.
    """
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        low, high = (values.get(name) for name in (*node.input[1:], "", "")[:2])
        if node.op_type == "Clip" and ((low is not None and low > 0) or (high is not None and high < 0)):
            return True
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantiser reports its steps through the root logger."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
