"""Transforms of images' levels, without chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .compose import Transform


@dataclass(frozen=True)
class ToFloat(Transform):
    """uint8 levels to float32 in 0..1: y = x / 255. Floats are taken to be in their range already and stay."""

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return np.divide(x, 255, dtype=np.float32) if x.dtype == np.uint8 else x


@dataclass(frozen=True)
class RawPixels(Transform):
    """uint8 levels to float32 without scaling: y = x, in 0..255. Floats stay."""

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return x.astype(np.float32) if x.dtype == np.uint8 else x


@dataclass(frozen=True)
class Normalize(Transform):
    """y = (x - mean) / std per channel. uint8 levels are divided by 255 first, so ``ToFloat`` need not stand before it.

    Args:
        mean, std: one number, or one per channel, for images in 0..1.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __post_init__(self) -> None:
        if np.ndim(self.mean) > 1 or np.ndim(self.std) > 1:
            raise ValueError(f"Normalize: mean and std are a number or one per channel, not {self.mean}, {self.std}")
        if not np.min(self.std) > 0:
            raise ValueError(f"Normalize: std must be positive, not {self.std}")

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if np.size(value) not in (1, x.shape[1]):
                raise ValueError(f"Normalize: {name} has {np.size(value)} values but x has {x.shape[1]} channels")
        y = x.astype(np.float32) if x.dtype == np.uint8 else x.copy()
        unit = 255 if x.dtype == np.uint8 else 1
        mean, std = np.reshape(self.mean, (-1, 1, 1)), np.reshape(self.std, (-1, 1, 1))
        y *= (1 / (unit * std)).astype(y.dtype)
        y -= (mean / std).astype(y.dtype)
        return y
