"""`head = "int8"`: a classifier in int8 with real outputs."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import residual_2d, samples
from mcugrad import frontend
from mcugrad.frontend.importer import import_model
from mcugrad.graph import Model, Role
from mcugrad.pipeline import compile_model, head_type
from mcugrad.scheme import Scheme


def _fresh(classes: int) -> Model:
    graph = frontend.quantize(residual_2d(), samples(residual_2d()))
    return import_model(frontend.replace_classifier(graph, classes), "net", float_head=False, int8_head=True)


@pytest.mark.parametrize(
    ("head", "loss", "expected"),
    [
        (True, "cross_entropy", "float32"),
        (True, "mse", "int8"),
        ("int8", "cross_entropy", "int8"),
        ("float32", "mse", "float32"),
        (False, "cross_entropy", "stored"),
    ],
)
def test_the_scheme_chooses_the_type_of_the_last_layer(head: bool | str, loss: str, expected: str) -> None:
    assert head_type(Scheme.model_validate({"head": head}), loss) == expected


def test_a_fresh_head_starts_at_zero_on_a_grid_that_can_learn() -> None:
    weight, bias = _fresh(3).parameters[-2:]
    assert (weight.role, bias.role) == (Role.WEIGHT, Role.BIAS)
    assert not weight.value.any()
    assert not bias.value.any()
    np.testing.assert_array_equal(weight.scale, np.float32(1 / 256))


def test_its_outputs_are_real_and_its_backward_is_integer() -> None:
    program = compile_model(_fresh(3), "head").program
    kernels = {call.kernel for call in program.calls}
    assert {"mg_dense_s8", "mg_fully_connected_update_weight_s8", "mg_update_bias_s8"} <= kernels
    assert not {"mg_dense_f32", "mg_dense_update_f32", "mg_conv2d_dgrad_s8"} & kernels


def test_it_learns_to_tell_two_samples_apart() -> None:
    from mcugrad.simulate.vm import ReferenceTrainer

    model = _fresh(2)
    step = compile_model(model, "head").step
    assert step is not None
    trainer = ReferenceTrainer(model, step)
    rng = np.random.default_rng(0)
    x = [rng.integers(low, low + 100, model.input_shape).astype(np.int8) for low in (-128, 20)]
    losses = [trainer.train_step(x[i % 2], np.array([i % 2], np.int32), 0.01, 3, i) for i in range(60)]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-5)
    assert np.mean(losses[-4:]) < 0.5 * losses[0]
