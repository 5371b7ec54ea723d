"""The watch that learns its wearer: data, float training, float fine-tuning, and the settings that RESULTS.md chose."""

from __future__ import annotations

from typing import Final

EPOCHS: Final = 10
LEARNING_RATE: Final = 0.003
SCHEDULE: Final = "cosine"
SCHEME: Final = "all"
SEEDS: Final = (0, 1, 2)
