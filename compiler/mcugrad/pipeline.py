"""The road a graph takes, as one function a stage: what `mcugrad compile` does, and what tests drive directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcugrad.scheme import Scheme, Selection, resolve

if TYPE_CHECKING:
    from mcugrad.graph import Model
    from mcugrad.passes.quantize_errors import TrainingStep
    from mcugrad.program import Program


@dataclass(frozen=True)
class Compiled:
    """A planned model. `step` is the Relax function that the emitted training step equals; None for inference only."""

    model: Model
    selection: Selection
    step: TrainingStep | None
    program: Program


def compile_model(model: Model, scheme: str | Scheme, loss: str = "cross_entropy") -> Compiled:
    """Differentiate, prune, quantise the errors and plan. Raises McugradError for a scheme that does not fit."""
    from mcugrad.plan import plan

    selection = resolve(scheme, model)
    step = training_step(model, selection, loss) if selection.names else None
    return Compiled(model, selection, step, plan(model, step))


def training_step(model: Model, selection: Selection, loss: str = "cross_entropy") -> TrainingStep:
    """The Relax training step of `selection`."""
    from mcugrad.passes.autodiff import differentiate
    from mcugrad.passes.loss import add_loss
    from mcugrad.passes.quantize_errors import quantize_errors
    from mcugrad.passes.sparse_update import sparse_update

    pruned = sparse_update(differentiate(add_loss(model, loss)), model, selection.names)
    return quantize_errors(pruned, model, selection)
