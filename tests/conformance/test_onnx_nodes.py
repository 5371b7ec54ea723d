"""onnx's own backend node tests of every supported operator, through the whole compiler to C on the host.

A test is one node. What it gives as inputs becomes the sample (the first input, its leading axis as the batch) and the
weights (all others): tests/onnx_node_cases.py. Float tests are quantised with their own data as calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.test_case import TestCase

from emitted_models import Emitted, quantised_input
from mcugrad.errors import McugradError
from mcugrad.frontend import qoperator, support
from mcugrad.graph import Model
from mcugrad.pipeline import Options, compile_model, import_file
from mcugrad.program import Program
from onnx_node_cases import Piece, node_tests, operator_of, pieces

SUPPORTED = {*support._OPERATORS, *qoperator._SIMPLE, *qoperator._UNARY, *qoperator._OTHER}
# The contract's list. Each of them has a test that runs, except where the table below takes all of them away.
OPERATORS = (
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "DequantizeLinear", "Div", "Dropout",
    "Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "LogSoftmax", "MatMul", "Max",
    "MaxPool", "Min", "Mul", "Pad", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "ReduceMean", "Relu", "Reshape",
    "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze",
)  # fmt: skip
NONE_RUN = {"Cast", "Max", "Min"}

# Float tests, in steps of the output's grid: half a step for rounding the output; up to one for rounding the input,
# whose grid is at most twice as coarse (Clip narrows the range); half for the weights, or the layer before.
STEPS = 2.0
# A softmax ends in float. One step in each logit moves log p by at most two steps and p by at most half a step.
TAIL_STEPS = {"softmax": 0.5, "log_softmax": 2.0}
# Quantised tests give the same integers.
EXACT = {"DequantizeLinear", "MaxPool", "QLinearConv", "QLinearMatMul", "QuantizeLinear"}

INTEGERS = "Arithmetic on plain integers, without a scale, is not what a quantised network does."
OTHER_TYPE = "Activations are float32, or 8-bit integers with a scale."
BATCH = "It works across the leading axis, which is the batch: compiled models take one sample at a time."
LARGE = "0..3 and 10000..10003 share one int8 grid, whose step of 39 leaves nothing of them."
VOLUME = "Volumes (three spatial axes) are not supported."
TWO = "Only Add and Concat combine activations; a constant operand is folded where it is a single number."
REFUSED: dict[str, str] = {
    "test_add_*int*": INTEGERS,
    "test_averagepool_2d_dilations": "A dilated average is not supported.",
    "test_averagepool_3d_*": VOLUME,
    "test_batchnorm_*_training_mode": "Statistics of the batch need a batch.",
    "test_cast*": "Only a Cast that changes nothing is accepted, and no test has one.",
    "test_clip_default_int8_m*": INTEGERS,
    "test_clip_default_int8_inbounds": INTEGERS,
    "test_concat_[23]d_axis_0": BATCH,
    "test_concat_2d_axis_negative_2": BATCH,
    "test_concat_3d_axis_negative_3": BATCH,
    "test_dequantizelinear_axis": "Activations have one scale; only weights have one for each channel.",
    "test_dequantizelinear_blocked": "Blocked quantisation is not supported.",
    "test_dequantizelinear_e*": OTHER_TYPE,
    "test_dequantizelinear_float4e2m1": OTHER_TYPE,
    "test_dequantizelinear_*int[24]": OTHER_TYPE,
    "test_dequantizelinear_*int16": OTHER_TYPE,
    "test_div_*int*": INTEGERS,
    "test_gemm_all_attributes": "With transA the samples are columns; " + BATCH,
    "test_gemm_transposeA": "With transA the samples are columns; " + BATCH,
    "test_*softmax_axis_0": BATCH,
    "test_*softmax_axis_1": "A softmax ends a graph over its last axis; this one is over an inner axis.",
    "test_matmul_4d": "A stack of weight matrices; one matrix is a layer.",
    "test_matmul_4d_1d": "The constant is a vector, not a matrix.",
    "test_matmul_bcast": "A stack of weight matrices; one matrix is a layer.",
    "test_max_*": TWO,
    "test_maxpool_3d_*": VOLUME,
    "test_maxpool_with_argmax_*": "The positions of the maxima are a second output, of type int64.",
    "test_min_*": TWO,
    "test_mul_*int*": INTEGERS,
    "test_edge_pad": "Only constant padding is supported, and the test is on int32.",
    "test_reflect_pad": "Only constant padding is supported, and the test is on int32.",
    "test_wrap_pad": "Only constant padding is supported, and the test is on int32.",
    "test_quantizelinear_axis": "Activations have one scale; only weights have one for each channel.",
    "test_quantizelinear_blocked_*": "Blocked quantisation is not supported.",
    "test_quantizelinear_e*": OTHER_TYPE,
    "test_quantizelinear_float4e2m1": OTHER_TYPE,
    "test_quantizelinear_*int[24]": OTHER_TYPE,
    "test_quantizelinear_*int16": OTHER_TYPE,
    "test_reduce_mean_default_axes_*": BATCH,
    "test_reshape_allowzero_reordered": "The tensor is empty.",
    "test_reshape_negative_extended_dims": BATCH,
    "test_reshape_one_dim": BATCH,
    "test_reshape_reordered_all_dims": BATCH,
    "test_sub_*int*": INTEGERS,
    "test_training_dropout*": "An active Dropout; only inference graphs are accepted.",
    "test_transpose_all_permutations_[45]": BATCH,
    "test_transpose_default": BATCH,
}
# What cannot be put as a model with one sample at a time, so that there is nothing the compiler could refuse.
NOT_A_MODEL: dict[str, str] = {
    "test_concat_1d_*": BATCH,
    "test_flatten_axis[023]": BATCH,
    "test_flatten_negative_axis[124]": BATCH,
    "test_identity_opt": "A sequence, not a tensor.",
    "test_identity_sequence": "A sequence, not a tensor.",
    "test_logsoftmax_large_number": LARGE,
    "test_matmul_1d_*": "A vector times a tensor: there is no batch.",
    "test_softmax_large_number": LARGE,
    "test_squeeze": BATCH,
    "test_transpose_all_permutations_[23]": BATCH,
    "test_unsqueeze_axis_0": BATCH,
}


@dataclass
class _Compiled:
    piece: Piece
    model: Model
    program: Program

    @property
    def step(self) -> float:
        """The scale of the output's grid, or of the logits'."""
        last = next(c for c in reversed(self.program.calls) if self.program.root(c.writes[0]) == self._output)
        scale = self.program.buffers[last.reads[0]].scale
        assert isinstance(scale, float)
        return scale

    @property
    def _output(self) -> str:
        return self.program.root(self.program.output)


@dataclass
class _Suite:
    cases: dict[str, TestCase]
    emitted: Emitted
    compiled: dict[str, list[_Compiled]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def of(self, operator: str) -> list[str]:
        return [name for name, case in self.cases.items() if operator_of(case) == operator]


def _matches(name: str, table: dict[str, str]) -> list[str]:
    return [pattern for pattern in table if fnmatchcase(name, pattern)]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> _Suite:
    """Everything compiled into one shared library; what the compiler refused, with its sentence."""
    folder = tmp_path_factory.mktemp("nodes")
    cases = {name: case for name, case in node_tests().items() if operator_of(case) in SUPPORTED}
    found = _Suite(cases, Emitted(folder))
    for name, case in cases.items():
        if _matches(name, NOT_A_MODEL) or operator_of(case) == "Cast":
            continue
        try:
            found.compiled[name] = [_compile(piece, found.emitted) for piece in pieces(case)]
        except McugradError as error:
            found.refused[name] = str(error)
    found.emitted.build()
    return found


def _compile(piece: Piece, emitted: Emitted) -> _Compiled:
    path = emitted.folder / f"{piece.name}.onnx"
    onnx.save(piece.model, path)
    np.savez(path.with_suffix(".npz"), x=piece.x)
    model = import_file(path, Options("host", path.with_suffix(".npz")), head="stored")
    program = compile_model(model, "none").program
    emitted.add(model, program)
    return _Compiled(piece, model, program)


def _error(compiled: _Compiled, emitted: Emitted) -> float:
    """The largest error in steps of the output's grid."""
    samples = quantised_input(compiled.model, compiled.piece.x)
    ours = np.concatenate([emitted.predict(compiled.model.name, x) for x in samples])
    assert ours.shape == compiled.piece.expected.shape
    return float(np.abs(ours - compiled.piece.expected).max()) / compiled.step


def _allowed(operator: str, compiled: _Compiled) -> float:
    if operator in EXACT and compiled.piece.quantised:
        return 1e-3
    return TAIL_STEPS.get(compiled.model.tail, STEPS)


@pytest.mark.parametrize("operator", OPERATORS)
def test_operator(suite: _Suite, operator: str, record_property: Callable[[str, object], None]) -> None:
    """Every test of the operator runs within its tolerance, or is refused and in the table."""
    wrong, ran, worst = [], 0, 0.0
    for name in suite.of(operator):
        if name in suite.refused and not _matches(name, REFUSED):
            wrong.append(f"{name} does not compile: {suite.refused[name]}")
        for compiled in suite.compiled.get(name, []):
            error, allowed = _error(compiled, suite.emitted), _allowed(operator, compiled)
            ran, worst = ran + 1, max(worst, error)
            if error > allowed:
                wrong.append(f"{compiled.piece.name}: {error:.3f} steps, allowed {allowed}")
    assert not wrong, "\n".join(wrong)
    assert (ran > 0) != (operator in NONE_RUN)
    names = suite.of(operator)
    done = sum(name in suite.compiled for name in names)
    record_property("agreement", f"{done} run, {len(names) - done} excluded, at most {worst:.2f} steps off")


def test_every_test_is_run_or_excluded(suite: _Suite) -> None:
    """Also: every supported operator is listed, no exclusion is stale, none is excluded twice."""
    operators = {operator_of(case) for case in suite.cases.values()}
    assert operators == set(OPERATORS)
    for name in suite.cases:
        count = len(_matches(name, REFUSED)) + len(_matches(name, NOT_A_MODEL))
        assert count == (name not in suite.compiled), f"{name}: in the tables {count} times"
    for pattern in (*REFUSED, *NOT_A_MODEL):
        assert any(fnmatchcase(name, pattern) for name in suite.cases), f"{pattern} excludes nothing"
