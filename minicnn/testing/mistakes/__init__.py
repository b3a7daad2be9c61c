"""The mistakes that people make in backward functions, each by its name.

A mistake is a wrong formula for one gradient of one operation, in plain NumPy. It can be planted into that operation
(planted.py): then the whole library computes what a program with that mistake would compute. That is how a wrong
gradient is recognised, and how a test suite is asked whether it would notice.
"""

from . import convolution, elementwise, linear, loss, normalisation, pooling
from .mistake import Mistake, Use
from .planted import classes_in, operation_class, planted

__all__ = ["MISTAKES", "Mistake", "Use", "classes_in", "named", "operation_class", "planted"]

MISTAKES: list[Mistake] = [m for family in (convolution, pooling, normalisation, linear, elementwise, loss)
                           for m in family.MISTAKES]


def named(name: str) -> Mistake:
    """The mistake of that name."""
    for m in MISTAKES:
        if m.name == name:
            return m
    raise ValueError(f"there is no known mistake {name!r}; minicnn.testing.MISTAKES lists all")
