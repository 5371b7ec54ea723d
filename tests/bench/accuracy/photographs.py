"""The clothing photographs: JPEG to what the networks read.

Convention: the centre 128x128 pixels of the decoded image, RGB, channels first; a byte v is v / 127.5 - 1 in float32.
The int8 networks take the nearest point of their input's grid from there, half to even (`mcugrad.samples`).
"""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .networks import SHARED, WORK

Array = npt.NDArray[Any]
SIZE = 128
SPLITS = ("train", "validation", "test")  # the file's split 0, 1, 2


@dataclass(frozen=True)
class Labels:
    """Of all photographs: class (n,) and split (n,)."""

    y: Array
    split: Array

    def rows(self, split: str) -> Array:
        """Indices of one split's photographs."""
        return np.flatnonzero(self.split == SPLITS.index(split))


def labels() -> Labels:
    """Classes and splits, without decoding anything."""
    with np.load(SHARED / "data" / "clothing_small_147px.npz", allow_pickle=False) as data:
        return Labels(data["y"].astype(np.int64), data["split"])


def pixels() -> Array:
    """All photographs, uint8 (n, 3, 128, 128). Decoded once, then read from the cache."""
    cache = WORK / "clothing.npy"
    if not cache.exists():
        with np.load(SHARED / "data" / "clothing_small_147px.npz", allow_pickle=False) as data:
            jpeg, offset = data["jpeg"], data["offset"]
        images = np.stack([_decode(jpeg[a:b].tobytes()) for a, b in itertools.pairwise(offset)])
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(".part.npy")
        np.save(part, images)
        part.replace(cache)
    decoded: Array = np.load(cache, mmap_mode="r")
    return decoded


def real(images: Array) -> Array:
    """uint8 pixels as the float32 networks read them."""
    scaled: Array = images.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return scaled


def _decode(jpeg: bytes) -> Array:
    from PIL import Image

    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    centre: Array = np.asarray(image.crop((left, top, left + SIZE, top + SIZE))).transpose(2, 0, 1)
    return centre
