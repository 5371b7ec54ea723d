"""mg_loss_watch of runtime_c/src/loss_watch.c, operation by operation: when a training has diverged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK, WINDOW = 128, 256  # losses in a block; losses that the mean of chance remembers
WORSE, RUINED, FALLS = np.float32(1.25), np.float32(8), np.float32(0.85)
ZERO, GROWTH, WORST = np.float32(0), np.float32(1.0625), np.float32(1e30)


@dataclass
class LossWatch:
    """mg_loss_watch_t, in its order. Nobody asks for checkpoints here, so `saved` only grows."""

    seen: int = 0
    diverged: int = 0
    mean: np.float32 = ZERO
    chance: np.float32 = ZERO
    start: np.float32 = ZERO
    last: np.float32 = ZERO
    before: np.float32 = ZERO
    saved: np.float32 = ZERO

    def observe(self, loss: np.float32, chance: np.float32, any_target: np.float32) -> bool:
        """A step's loss, that of outputs that know nothing, that of its outputs if the target had nothing to do with
        them; False when the training has diverged."""
        within = self.seen % BLOCK
        if self.seen == 0:
            self.start = any_target if any_target < WORST else ZERO
        self.seen += 1
        self.chance = self.chance + (chance - self.chance) / np.float32(min(self.seen, WINDOW))
        value = loss if loss < WORST else WORST
        self.mean = value if within == 0 else self.mean + (value - self.mean) / np.float32(within + 1)
        if self.seen % BLOCK == 0:
            self._end_block()
        return not self.diverged

    def _end_block(self) -> None:
        first = self.seen == BLOCK
        low, high = (self.last, self.before) if self.last < self.before else (self.before, self.last)
        least = self.mean if self.mean < low else low
        level = self.start if self.start > self.chance else self.chance
        stays = self.mean > FALLS * high or least > RUINED * level
        if self.seen >= 3 * BLOCK and least > WORSE * level and stays:
            self.diverged = self.seen
        learned = WORSE * self.mean
        self.start = learned if learned < self.start else self.start
        self.before, self.last = self.last, self.mean
        grown = self.saved * GROWTH
        self.saved = self.chance if first or self.chance < grown else grown


def chance_of(target: np.ndarray, classes: int) -> np.float32:
    """What mg_loss_watch is given: log(classes) for a label, the mean square of float32 targets."""
    if target.dtype != np.float32:
        chance: np.float32 = np.log(classes).astype(np.float32)
        return chance
    squares = np.add.accumulate(target.reshape(-1) * target.reshape(-1), dtype=np.float32)
    chance = squares[-1] * (np.float32(1) / np.float32(len(squares)))
    return chance


def any_target_loss(logits: np.ndarray, target: np.ndarray, loss: np.float32) -> np.float32:
    """What mg_loss_watch is given: mg_any_label_loss_f32 for a label, the loss itself for float32 targets."""
    if target.dtype == np.float32:
        return loss
    x = logits.reshape(-1)
    mean = np.add.accumulate(x, dtype=np.float32)[-1] * (np.float32(1) / np.float32(len(x)))
    value: np.float32 = loss + (x[int(target.reshape(-1)[0])] - mean)
    return value
