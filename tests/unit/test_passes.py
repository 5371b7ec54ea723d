"""The passes between the imported graph and the plan: loss, autodiff, sparse update, error quantisation."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tvm import relax

from graphs import imported, residual_2d
from mcugrad.graph import Model, Parameter, Role
from mcugrad.ops.operator import dtype, shape
from mcugrad.passes.autodiff import differentiate
from mcugrad.passes.functions import bindings, op_name, result
from mcugrad.passes.loss import add_loss
from mcugrad.passes.quantize_errors import TrainingStep
from mcugrad.passes.sparse_update import sparse_update
from mcugrad.passes.updates import qas_factor
from mcugrad.pipeline import training_step
from mcugrad.scheme import Bias, ErrorDtype, Scheme, resolve


@pytest.fixture(scope="module")
def model() -> Model:
    return imported(residual_2d())


def _calls(function: relax.Function) -> Counter[str]:
    return Counter(op_name(value) for _, value in bindings(function) if op_name(value).startswith("mg."))


def _step(model: Model, scheme: str | Scheme, loss: str = "cross_entropy") -> TrainingStep:
    return training_step(model, resolve(scheme, model), loss)


@pytest.mark.parametrize(("loss", "target"), [("cross_entropy", ("int32", (1,))), ("mse", ("float32", (1, 5)))])
def test_the_loss_takes_a_target_after_the_sample(model: Model, loss: str, target: tuple[str, tuple[int, ...]]) -> None:
    function = add_loss(model, loss)
    assert function.params[1].name == "target"
    assert (dtype(function.params[1]), shape(function.params[1])) == target
    assert [p.name for p in function.params[2:]] == [p.name for p in model.parameters]
    assert shape(function.body.body) == ()


def test_autodiff_yields_a_gradient_of_every_parameter(model: Model) -> None:
    loss, *gradients = result(differentiate(add_loss(model, "cross_entropy"))).fields
    assert shape(loss) == ()
    assert [shape(g) for g in gradients] == [p.value.shape for p in model.parameters]
    assert {dtype(g) for g in gradients} == {"float32"}


def test_what_does_not_train_is_not_computed(model: Model) -> None:
    gradients = differentiate(add_loss(model, "cross_entropy"))

    def calls(*trained: str) -> Counter[str]:
        return _calls(sparse_update(gradients, model, trained))

    head = calls("head.weight", "head.bias")
    assert head["mg.conv2d"] == len(model.layers) - 1
    assert not [name for name in head if ("dgrad" in name and "dense" not in name) or "conv2d_wgrad" in name]
    last = calls("last.bias")
    assert (last["mg.bias_grad"], last["mg.conv2d_wgrad"], last["mg.conv2d_dgrad"]) == (1, 0, 0)
    assert (last["mg.avg_pool2d_dgrad"], last["mg.dense_dgrad"], last["mg.dense_wgrad"]) == (1, 1, 0)
    middle = calls("point.weight")  # behind it lie `last` and two Concats
    assert (middle["mg.conv2d_dgrad"], middle["mg.conv2d_wgrad"]) == (1, 1)
    assert calls("stem.weight")["mg.conv2d_wgrad"] == 1


@pytest.mark.parametrize(("errors", "accumulator"), [("int8", "int32"), ("int16", "int64"), ("float32", "float32")])
def test_gradient_kernels_read_stored_errors(model: Model, errors: ErrorDtype, accumulator: str) -> None:
    scheme = Scheme(errors=errors, bias=Bias(last=99), weight={"stem": 1.0, "wide": 1.0})
    step = _step(model, scheme)
    kernels = ("mg.conv2d_dgrad", "mg.conv2d_wgrad", "mg.bias_grad")
    found = [(var, value) for var, value in bindings(step.function) if op_name(value) in kernels]
    assert found
    for var, value in found:
        assert dtype(value.args[0]) == errors
        assert dtype(var) == accumulator
    stores = _calls(step.function)["mg.error_store" if errors == "float32" else "mg.error_quantize"]
    assert stores == len(step.ratios) or errors == "float32"
    assert bool(step.ratios) == (errors != "float32")


def test_an_error_that_two_kernels_read_is_stored_once(model: Model) -> None:
    """Weight, bias and input gradient of a layer read the same tensor."""
    step = _step(model, "all")
    read: dict[str, set[str]] = {}
    for _, value in bindings(step.function):
        if op_name(value) in ("mg.conv2d_dgrad", "mg.conv2d_wgrad", "mg.bias_grad"):
            read.setdefault(str(value.attrs["layer"]), set()).add(value.args[0].name)
    assert {len(names) for names in read.values()} == {1}
    assert len(read) == len(model.layers) - 1


def test_the_step_returns_what_it_trains(model: Model) -> None:
    step = _step(model, Scheme(bias=Bias(layers=("stem",)), weight={"last": 0.5}))
    assert step.trained == ("stem.bias", "last.weight", "head.weight", "head.bias")
    loss, logits, *after = result(step.function).fields
    assert (shape(loss), shape(logits)) == ((), model.output_shape)
    assert [shape(a) for a in after[:4]] == [model.parameter(name).value.shape for name in step.trained]
    assert [dtype(a) for a in after[:4]] == ["int32", "int8", "float32", "float32"]
    assert [shape(a) for a in after[4:]] == [(1,)] * len(step.ratios)
    names = [p.name for p in step.function.params]
    assert names[-3:] == ["lr", "seed", "step"]


def test_dead_channels_do_not_move() -> None:
    """A channel with hardly any scale would be moved by its scale to the power of -2."""
    scale = np.array([0.01, 1e-7, 0.0, 2.0], np.float32)
    value = np.zeros((4, 1, 1, 1), np.int8)
    factors = qas_factor(Parameter("w", "l", Role.WEIGHT, value, scale), scale)
    np.testing.assert_allclose(factors, [1e4, 0, 0, 0.25], rtol=1e-5)
    bias = Parameter("b", "l", Role.BIAS, np.zeros(4, np.int32), (scale * np.float32(1e-3)).astype(np.float32))
    np.testing.assert_allclose(qas_factor(bias, scale), [1e10, 0, 0, 2.5e5], rtol=1e-5)
