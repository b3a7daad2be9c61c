"""A case is made by choices; who chooses is left open: a random generator here, Hypothesis in strategies.py.

So the same function makes the cases that tests shrink and those that a command without Hypothesis runs through. The
first option and the lowest number are the simplest.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Choices(Protocol):
    """Who chooses."""

    def integer(self, low: int, high: int) -> int:
        """A number from low to high, both included."""

    def option(self, options: Sequence[Any]) -> Any:
        """One of the options."""


class RandomChoices:
    """Choices by a random generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def option(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]


class Simplest:
    """The simplest choice, every time."""

    def integer(self, low: int, high: int) -> int:
        return low

    def option(self, options: Sequence[Any]) -> Any:
        return options[0]


def per_axis(choices: Choices, axes: int, low: int, high: int) -> tuple[int, ...]:
    """A number for every axis."""
    return tuple([choices.integer(low, high) for _ in range(axes)])


def batch(choices: Choices) -> int:
    """How many images: one, two, three or none."""
    return choices.option((1, 2, 3, 0))
