"""ONNX in, one small canonical ONNX dialect out: see README.md."""

from mcugrad.frontend.classes import replace_classifier
from mcugrad.frontend.data import Samples, check_labels, check_samples, load_npz
from mcugrad.frontend.load import load_for_inspection, load_model
from mcugrad.frontend.normalise import is_quantized, prepare
from mcugrad.frontend.quantize import Agreement, agreement, quantize, run_model
from mcugrad.frontend.summary import Layer, Pair, Summary, summarize

__all__ = [
    "Agreement",
    "Layer",
    "Pair",
    "Samples",
    "Summary",
    "agreement",
    "check_labels",
    "check_samples",
    "is_quantized",
    "load_for_inspection",
    "load_model",
    "load_npz",
    "prepare",
    "quantize",
    "replace_classifier",
    "run_model",
    "summarize",
]
