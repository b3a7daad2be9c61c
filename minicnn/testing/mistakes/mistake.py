"""What a mistake is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Use:
    """One use of an operation: its node in the graph, the arrays it was called with, and the upstream gradient."""

    node: Any
    inputs: tuple[Any, ...]
    gy: np.ndarray


Wrong = Callable[[Use, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Mistake:
    """``wrong(use, right)`` is what takes the place of the right gradient of input number ``of`` where it ``applies``.

    It may be equal to the right one where the mistake makes no difference, as a forgotten stride of 1.
    """

    name: str
    operation: str  # the class in minicnn.ops
    of: int
    advice: str
    wrong: Wrong
    applies: Callable[[Use], bool]


def collector(operation: str, mistakes: list[Mistake],
              applies: Callable[[Use], bool] = lambda use: True) -> Callable[[int, str, str], Callable[[Wrong], Wrong]]:
    """A decorator that enters a function into a list as a mistake of that operation."""
    def mistake(of: int, name: str, advice: str) -> Callable[[Wrong], Wrong]:
        def enter(wrong: Wrong) -> Wrong:
            mistakes.append(Mistake(name, operation, of, advice, wrong, applies))
            return wrong

        return enter

    return mistake
