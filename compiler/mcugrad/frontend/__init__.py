"""ONNX in, one small canonical ONNX dialect out: see README.md."""

from mcugrad.frontend.load import load_model
from mcugrad.frontend.normalise import is_quantized, prepare
from mcugrad.frontend.quantize import Agreement, agreement, quantize

__all__ = ["Agreement", "agreement", "is_quantized", "load_model", "prepare", "quantize"]
