"""Values to fill arrays with: without ties and away from kinks by construction, or exactly there."""

from collections.abc import Sequence

import numpy as np

from .choices import Choices

SPREAD = 2.0  # values lie between −SPREAD and SPREAD


def spaced(choices: Choices, shape: Sequence[int], kinks: Sequence[float] = (0.0,), low: float = -SPREAD,
           high: float = SPREAD) -> np.ndarray:
    """Evenly spaced values in random order: no two nearer than half a space, none nearer to a kink than a quarter."""
    n = int(np.prod(shape))
    space = (high - low) / max(n, 1)
    values = low + space * (np.arange(n) + 0.5)
    for kink in kinks:
        off = values - kink
        values = np.where(np.abs(off) < space / 4, kink + np.copysign(space / 4, off), values)
    return _random(choices).permutation(values).reshape(shape)


def tied(choices: Choices, shape: Sequence[int], kinks: Sequence[float] = (0.0,)) -> np.ndarray:
    """Values of which many are equal to each other, or exactly at a kink."""
    return _random(choices).choice(np.array([*kinks, *kinks, -1.0, 0.5, 2.0]), size=tuple(shape))


def normal(choices: Choices, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
    """Normally distributed values with four decimals, to be read and pasted."""
    return np.round(np.asarray(_random(choices).standard_normal(tuple(shape))) * scale, 4) + 0.0  # −0 becomes 0


def rows(choices: Choices, count: int, length: int) -> np.ndarray:
    """Rows of evenly spaced values, each in an order and around a mean of its own, so that all have a fair variance."""
    rng = _random(choices)
    grid = np.tile(np.linspace(-SPREAD, SPREAD, length), (count, 1))
    return rng.permuted(grid, axis=1) * rng.uniform(0.5, 1.5, (count, 1)) + rng.uniform(-1, 1, (count, 1))


def positive(choices: Choices, shape: Sequence[int], low: float = 0.2, high: float = 2.0) -> np.ndarray:
    """Evenly spaced positive values in random order."""
    return spaced(choices, shape, (), low, high)


def classes(choices: Choices, count: int, of: int) -> np.ndarray:
    """Numbers of classes."""
    return _random(choices).integers(0, of, count)


def _random(choices: Choices) -> np.random.Generator:
    return np.random.default_rng(choices.integer(0, 2 ** 16))
