"""The oracle: the training step of Relax, run by TVM's virtual machine from the operators' own definitions (LLVM)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from mcugrad.graph import Model
from mcugrad.ops.operator import dtype, shape
from mcugrad.passes.quantize_errors import TrainingStep
from mcugrad.simulate.loss_watch import LossWatch, any_target_loss, chance_of


@dataclass
class ReferenceTrainer:
    """Runs `step` on NumPy arrays. `parameters`, `ratios` and `rests` hold the current values by name, `watch` what
    is known about the loss of this plan."""

    model: Model
    step: TrainingStep
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    ratios: dict[str, np.ndarray] = field(default_factory=dict)
    rests: dict[str, np.ndarray] = field(default_factory=dict)
    watch: LossWatch = field(default_factory=LossWatch)
    _machine: Any = None

    def __post_init__(self) -> None:
        self.parameters = {p.name: np.array(p.value) for p in self.model.parameters}
        self.ratios = {name: np.zeros(1, np.float32) for name in self.step.ratios}
        kept = {p.name: p for p in self.step.function.params if p.name in self.step.rests}
        self.rests = {name: np.zeros(shape(kept[name]), dtype(kept[name])) for name in self.step.rests}
        self._machine = _machine(tvm.IRModule({"step": self.step.function}))

    def train_step(self, x: np.ndarray, target: np.ndarray, lr: float, seed: int, index: int) -> float:
        """One update; x int8 and target as the step wants them. Returns the loss.

        A loss that is not finite updates nothing, as on the device; the caller keeps `index` then. Nor does anything
        after a divergence, where the last block's mean is returned.
        """
        if self.watch.diverged:
            return float(self.watch.last)
        scalars = np.array([lr], np.float32), np.array([seed], np.uint32), np.array([index], np.uint32)
        state = (*self.parameters.values(), *self.ratios.values(), *self.rests.values())
        arrays = [x, target, *state, *scalars]
        loss, logits, *after = self._machine["step"](*(tvm.runtime.tensor(np.ascontiguousarray(a)) for a in arrays))
        value = np.float32(loss.numpy())
        chance = chance_of(target, self.model.output_shape[-1])
        any_target = any_target_loss(logits.numpy(), target, value)
        if not self.watch.observe(value, chance, any_target) or not np.isfinite(value):
            return float(loss.numpy())
        names = (*self.step.trained, *self.step.ratios, *self.step.rests)
        for name, tensor in zip(names, after, strict=True):
            home = next(h for h in (self.parameters, self.ratios, self.rests) if name in h)
            home[name] = tensor.numpy()
        return float(loss.numpy())


def _machine(module: tvm.IRModule) -> Any:
    """Without argument checks and LLVM's optimiser, which would take two thirds of the compile time."""
    target = tvm.target.Target({"kind": "llvm", "opt-level": 0})
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        return relax.VirtualMachine(tvm.compile(module, target=target), tvm.cpu())
