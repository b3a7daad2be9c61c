"""What every image transform is: a function of a batch (N, C, H, W) and, for the random ones, of a generator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BatchTransform = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]


class Transform:
    """Base of the transforms: checks the batch, then calls ``apply(x, rng)``."""

    def __call__(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        name = type(self).__name__
        if x.ndim != 4:
            raise ValueError(f"{name}: x must be a batch (N, C, H, W), not {x.shape}; one image is x[None]")
        if x.dtype != np.uint8 and x.dtype.kind != "f":
            raise TypeError(f"{name}: x must hold uint8 levels or floats, not {x.dtype}")
        return self.apply(x, rng)

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no apply(x, rng); define what becomes of a batch")


class RandomTransform(Transform):
    """Base of the transforms that need the generator, to draw other numbers for every image: ``draw(x, rng)``."""

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if rng is None:
            name = type(self).__name__
            raise TypeError(f"{name}: is random and needs a generator: transform(x, numpy.random.default_rng(seed))")
        return self.draw(x, rng)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no draw(x, rng); define what becomes of a batch")


@dataclass(frozen=True)
class Compose(Transform):
    """Apply transforms one after the other."""

    transforms: Sequence[BatchTransform]

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        for transform in self.transforms:
            x = transform(x, rng)
        return x
