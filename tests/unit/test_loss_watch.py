"""Running means of the loss: what stops a training and what does not, and when a checkpoint is due."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import F32, FEW, SEEDS
from kernel_library import Kernels
from kernel_library import LossWatch as Struct
from mcugrad.simulate.loss_watch import LossWatch, any_target_loss, chance_of

CHANCE = F32(np.log(10))
Losses = npt.NDArray[np.float32]


def _stopped(losses: Iterable[float], chance: np.float32 = CHANCE, start: float = 0) -> int:
    """The step at which the training was stopped; 0: it was not."""
    watch = LossWatch()
    return next((watch.diverged for loss in losses if not watch.observe(F32(loss), chance, F32(start))), 0)


def _noisy(means: npt.ArrayLike, seed: int = 0) -> Losses:
    """Losses of single samples about these means: a few large, most small."""
    means = np.asarray(means, np.float64)
    return np.random.default_rng(seed).exponential(means).astype(F32)


@given(st.integers(1, 600), st.floats(-3, 3), st.booleans(), SEEDS)
@FEW
def test_the_kernel_and_the_reference_agree_in_every_bit(
    kernels: Kernels, n: int, trend: float, targets: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    losses = _noisy(np.exp(np.linspace(0, trend, n)) * rng.choice([0, 1, 1e30]), seed)
    losses[rng.random(n) < 0.05] = rng.choice([np.inf, np.nan, 1e38, 0])
    c, python = Struct(), LossWatch()
    for loss in losses:
        chance = F32(rng.exponential()) if targets else CHANCE
        start = F32(rng.choice([0, 1, 30, np.inf, np.nan]))
        assert kernels("loss_watch", c, loss, chance, start) == python.observe(loss, chance, start)
        for name in ("seen", "diverged", "mean", "chance", "start", "last", "before", "saved"):
            assert F32(getattr(c, name)).tobytes() == F32(getattr(python, name)).tobytes(), name
        if python.diverged:
            break


@given(st.integers(1, 50), SEEDS)
@FEW
def test_targets_know_nothing_at_their_mean_square(kernels: Kernels, n: int, seed: int) -> None:
    target = np.random.default_rng(seed).normal(0, 3, n).astype(F32)
    chance = chance_of(target.reshape(1, n), n)
    assert F32(kernels("mean_square_f32", target, n)).tobytes() == chance.tobytes()
    assert np.isclose(chance, np.mean(target.astype(np.float64) ** 2), rtol=1e-5)
    assert chance_of(np.array([0], np.int32), 10) == CHANCE


@given(st.integers(1, 50), st.sampled_from([0.01, 1, 30]), SEEDS)
@FEW
def test_the_loss_of_any_label_is_the_mean_over_all_labels(kernels: Kernels, n: int, spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, label = rng.normal(0, spread, n).astype(F32), int(rng.integers(n))
    exact = np.logaddexp.reduce(x.astype(np.float64)) - x.astype(np.float64)
    loss = F32(exact[label])
    value = any_target_loss(x.reshape(1, n), np.array([label], np.int32), loss)
    assert F32(kernels("any_label_loss_f32", x, n, label, loss)).tobytes() == value.tobytes()
    assert np.isclose(value, exact.mean(), rtol=1e-4, atol=1e-5 * spread)
    assert any_target_loss(x, x, F32(0.5)) == F32(0.5)


def test_a_healthy_training_goes_on() -> None:
    falls = np.exp(-np.arange(4000) / 800)
    for seed in range(5):
        assert not _stopped(_noisy(2.3 * falls, seed))
        assert not _stopped(_noisy(np.full(4000, 2.3), seed)), "at chance"
        wrong = (0.3 + 8 * falls) * np.random.default_rng(seed).uniform(0.2, 1.8, 4000)
        assert not _stopped(wrong), "every label wrong at first, at a low rate"
        assert not _stopped(_noisy(0.3 + 20 * np.exp(-np.arange(4000) / 200), seed)), "one that recovers"


def test_a_network_that_begins_worse_than_guessing_may_take_its_time() -> None:
    """Fresh random weights can give large logits: surely wrong at first, and slowly better at a low rate."""
    for seed in range(5):
        for level in (2, 5, 20):
            slow = level * CHANCE * np.exp(-np.arange(4000) / 20_000)
            assert not _stopped(_noisy(slow, seed), start=level * CHANCE)
            assert _stopped(_noisy(slow, seed)), "that is what `start` is for"
            grown = _noisy(np.full(4000, 1.6 * level * CHANCE), seed)
            assert _stopped(grown, start=level * CHANCE) == 384
            learned = _noisy(np.full(1000, 0.5 * CHANCE), seed)
            assert 1000 < _stopped([*learned, *grown], start=level * CHANCE) <= 2000, "it has been better than that"


def test_another_task_in_mid_run_goes_on() -> None:
    """Everything wrong at once, wherever in a block, and learned within some hundred steps."""
    for seed in range(20):
        start = 2000 + 17 * seed
        again = np.concatenate([np.full(start, 0.1), 0.1 + 8 * np.exp(-np.arange(2000) / 200)])
        assert not _stopped(_noisy(again, seed))


def test_one_sample_stops_nothing() -> None:
    for bad in (np.nan, np.inf, 1e38):
        losses = _noisy(np.full(3000, 1.0))
        losses[[5, 1000, 2000]] = bad
        assert not _stopped(losses)


def test_a_diverging_training_stops_within_some_hundred_steps() -> None:
    for level in (3.5, 30.0, 1e6, np.inf, np.nan):
        assert _stopped([2.3, *([level] * 3000)]) <= 512, level
        late = _stopped([*_noisy(np.full(3000, 0.5)), *([level] * 3000)])
        assert 3000 < late <= 3512, level


def test_the_level_of_targets_counts() -> None:
    assert not _stopped(np.full(1000, 900.0), F32(1000.0))
    assert _stopped([900.0, *([1300.0] * 1000)], F32(1000.0)) == 384
    assert not _stopped(np.zeros(1000), F32(0.0)), "one class has no loss"


def test_a_checkpoint_is_due_where_a_block_is_markedly_lower(kernels: Kernels) -> None:
    watch, due = Struct(), []
    for step, loss in enumerate(_noisy(2.3 * np.exp(-np.arange(3000) / 600)), 1):
        kernels("loss_watch", watch, loss, CHANCE, F32(0))
        if kernels("loss_improved", watch):
            due.append((step, watch.last))
            assert not kernels("loss_improved", watch), "once"
    assert all(step % 128 == 0 for step, _ in due)
    assert 5 <= len(due) <= 20
    for (a, earlier), (b, later) in itertools.pairwise(due):
        assert later < 0.7501 * earlier * 1.0625 ** ((b - a) // 128)


def test_none_is_due_at_chance_or_after_a_divergence(kernels: Kernels) -> None:
    for level in (0.8 * CHANCE, F32(30)):
        watch = Struct()
        for _ in range(2000):
            kernels("loss_watch", watch, level, CHANCE, F32(0))
            assert not kernels("loss_improved", watch)
        assert (watch.diverged != 0) == (level == 30)
