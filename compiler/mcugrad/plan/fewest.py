"""Which of several measures a goal really takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def fewest(measures: Sequence[T], order: Iterable[T], enough: Callable[[list[T]], bool]) -> list[T]:
    """`measures` without those that are not needed: tried in `order`, each stays away if the others are `enough`."""
    kept = list(measures)
    for measure in order:
        others = [m for m in kept if m is not measure]
        if enough(others):
            kept = others
    return kept
