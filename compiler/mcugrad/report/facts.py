"""What the HTML report says of parameters beyond the manifest: plain numbers, taken from a model and its scheme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcugrad.graph import Model, Parameter, Role
from mcugrad.scheme import Runs, Selection


@dataclass(frozen=True)
class Channels:
    """`trained` of `total` channels."""

    trained: int
    total: int


@dataclass(frozen=True)
class ParameterFacts:
    """One parameter tensor. `role` is the value of a `graph.Role`.

    `inputs` and `outputs` are the channels that the scheme selects (a bias has outputs only). `values` counts what
    training can change: selected and not dead. `dead` output channels have a scale so small that they are never
    updated; `scale` is the least and the largest of the others, None for float32. `at_limit` counts int8 weights that
    are at -128, -127 or 127 before any training, None for other types.
    """

    name: str
    layer: str
    role: str
    shape: tuple[int, ...]
    elements: int
    outputs: Channels
    inputs: Channels | None
    values: int
    dead: int
    scale: tuple[float, float] | None
    at_limit: int | None

    @property
    def is_bias(self) -> bool:
        return self.role.endswith("bias")

    @property
    def trains(self) -> bool:
        return self.outputs.trained > 0


def parameter_facts(model: Model, selection: Selection) -> list[ParameterFacts]:
    """The facts of every parameter, in the model's order."""
    return [_facts(p, model.weight_scale(p.layer), selection) for p in model.parameters]


def _facts(parameter: Parameter, weight_scale: np.ndarray, selection: Selection) -> ParameterFacts:
    from mcugrad.passes.updates import DEAD_SCALE

    shape = tuple(parameter.value.shape)
    outputs, inputs = _selected(parameter, selection)
    alive = np.broadcast_to(weight_scale >= DEAD_SCALE, shape[:1])
    kernel = parameter.value[0, 0].size if len(shape) > 1 else 1
    width = inputs.size if inputs is not None else 1
    scales = np.broadcast_to(parameter.scale, shape[:1])[alive]
    limits = int(np.isin(parameter.value, (-128, -127, 127)).sum()) if parameter.role is Role.WEIGHT else None
    return ParameterFacts(
        parameter.name,
        parameter.layer,
        parameter.role.value,
        shape,
        parameter.value.size,
        Channels(outputs.size, shape[0]),
        Channels(width, shape[1]) if inputs is not None else None,
        int(alive[outputs].sum()) * width * kernel,
        int((~alive).sum()),
        None if parameter.is_float or not scales.size else (float(scales.min()), float(scales.max())),
        limits,
    )


def _selected(
    parameter: Parameter, selection: Selection
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], np.ndarray[tuple[int], np.dtype[np.intp]] | None]:
    """Indices of the output and input channels that train; inputs are None for a bias."""
    trains = parameter.name in selection.names
    outputs, *more = parameter.value.shape
    if not more:
        return np.arange(outputs if trains else 0), None
    if not trains:
        return np.arange(0), np.arange(0)
    subset = selection.subset(parameter)
    return _indices(subset.outputs), _indices(subset.inputs)


def _indices(runs: Runs) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.concatenate([np.arange(begin, end) for begin, end in runs])
