"""Gradients of the trained parameters  become  in-place updates, rounded as the scheme says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from mcugrad.graph import Model, Parameter, Role
from mcugrad.ops import rest, update
from mcugrad.ops.dense import HEAD_RATE, dense_apply, dense_pending, dense_total, dense_update
from mcugrad.ops.operator import Type
from mcugrad.scheme import Selection

DEAD_SCALE = 1e-6  # a channel with a smaller weight scale is dead: its QAS factor would be astronomic


class Updates:
    """Emits updates into `builder`. `rests` collects the state they keep from step to step, (before, after).

    `scalars` has the variables lr, seed and step.
    """

    def __init__(
        self, builder: relax.BlockBuilder, model: Model, selection: Selection, scalars: Mapping[str, relax.Var]
    ) -> None:
        self.builder, self.model, self.selection, self.scalars = builder, model, selection, scalars
        self.rests: list[tuple[relax.Var, relax.Var]] = []

    def of_float(self, parameter: Parameter, old: relax.Var, gradient: relax.Var) -> relax.Var:
        """The updated float32 `parameter`."""
        lr, step, k = self.scalars["lr"], self.scalars["step"], self.selection.accumulate
        if k == 1:
            return self._emit(parameter, dense_update(old, gradient, lr))
        pending = self._rest(parameter, parameter.value.shape, "float32")
        total = self.builder.emit(dense_total(pending, gradient, lr, accumulate=k))
        self._keep(pending, dense_pending(total, step, accumulate=k))
        return self._emit(parameter, dense_apply(old, total, step, accumulate=k))

    def of_integer(
        self, parameter: Parameter, old: relax.Var, accumulator: relax.Var, scale: relax.Expr | None, tensor: int
    ) -> relax.Var:
        """The updated int8 or int32 `parameter`. Its gradient is accumulator * scale (None: 1), `tensor` the number of
        its random stream."""
        lr, seed, step = (self.scalars[n] for n in ("lr", "seed", "step"))
        qas = relax.const(qas_factor(parameter, self.model.weight_scale(parameter.layer)))
        one = relax.const(np.ones(1, np.float32))
        gradient = accumulator, qas, one if scale is None else scale, lr, seed, step
        facts = {"tensor": tensor, "layer": parameter.layer, "rate": HEAD_RATE if parameter.head else 1.0}
        if self.selection.keeps_rest:
            return self._with_rest(parameter, old, gradient, facts)
        if parameter.role is Role.BIAS:
            return self._emit(parameter, update.update_bias(old, *gradient, **facts))
        return self._emit(parameter, update.update_weight(old, *gradient, **facts, **self._channels(parameter)))

    def _with_rest(
        self, parameter: Parameter, old: relax.Var, gradient: tuple[relax.Expr, ...], facts: dict[str, Any]
    ) -> relax.Var:
        k, step, bias = self.selection.accumulate, self.scalars["step"], parameter.role is Role.BIAS
        channels = {} if bias else self._channels(parameter)
        kind, dims = rest.rest_dtype(k, bias=bias), parameter.value.shape
        if not bias:
            dims = (update.count(channels["outputs"]), update.count(channels["inputs"]), *dims[2:])
        before = self._rest(parameter, dims, kind)
        facts |= {"rate": facts["rate"] * rest.UNIT / k, "stochastic": k > 1}
        sum_up = rest.total_bias if bias else rest.total_weight
        total = self.builder.emit(sum_up(before, *gradient, **facts, **channels))
        self._keep(before, rest.keep_rest(total, step, accumulate=k, kind=kind))
        if bias:
            return self._emit(parameter, rest.apply_bias(old, total, step, accumulate=k))
        qas = gradient[1]
        return self._emit(parameter, rest.apply_weight(old, total, qas, step, accumulate=k, **channels))

    def _channels(self, parameter: Parameter) -> dict[str, list[int]]:
        """The edges of the runs of channels that train."""
        subset = self.selection.subset(parameter)
        sides = {"inputs": subset.inputs, "outputs": subset.outputs}
        return {side: [edge for run in runs for edge in run] for side, runs in sides.items()}

    def _rest(self, parameter: Parameter, dims: tuple[int, ...], kind: str) -> relax.Var:
        return relax.Var(self.selection.rest_of(parameter), Type(dims, kind))

    def _keep(self, before: relax.Var, after: relax.Expr) -> None:
        self.rests.append((before, self.builder.emit(after)))

    def _emit(self, parameter: Parameter, moved: relax.Call) -> relax.Var:
        return self.builder.emit(moved, f"{parameter.name}.updated")


def qas_factor(parameter: Parameter, weight_scale: np.ndarray) -> np.ndarray:
    """scale^-2 per output channel of a weight or bias, 0 where the layer's `weight_scale` says it is dead, float32."""
    scale = parameter.scale.astype(np.float64)
    return np.where(weight_scale >= DEAD_SCALE, 1.0 / np.maximum(scale, 1e-30) ** 2, 0.0).astype(np.float32)
