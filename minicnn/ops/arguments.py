"""Checks of what operations are called with, shared by all families."""

import operator
from typing import Any

from .. import dtypes
from ..engine import Tensor

IMAGE = {1: "L", 2: "H, W", 3: "D, H, W"}  # the letters of the axes of signals, images and volumes
KERNEL = {1: "K", 2: "KH, KW", 3: "KD, KH, KW"}
LARGEST = 2**63 - 1  # what an index can be


def same_floats(name: str, also: tuple[Any, ...] = (), /, **tensors: Tensor | None) -> None:
    """Raise unless all tensors given are of one type, a floating one or one of ``also``."""
    first = None
    for t in tensors.values():
        if t is not None and (dtype := t.data.dtype) is not first:
            if first is None and (dtypes.is_floating(dtype) or dtype in also):
                first = dtype
            elif dtype != first:
                given = [f"{key} is {t.dtype}" for key, t in tensors.items() if t is not None]
                rule = "all must have the same floating type" if len(given) > 1 else "must be of a floating type"
                others = f", or be of one of {', '.join(map(str, also))}" if also else ""
                raise RuntimeError(f"{name}: {', '.join(given)}; {rule}{others} (convert with .float() or .to(...))")


def integer(value: Any) -> int:
    """The integer that value is; a bool is none. TypeError otherwise."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def per_axis(name: str, argument: str, value: Any, axes: int, least: int = 1,
             one_for_all: bool = True) -> tuple[int, ...]:
    """One integer per axis, each at least ``least``, from a number or a sequence of numbers, one or ``axes``.

    Not from a sequence of one number unless ``one_for_all``.
    """
    if type(value) is int and least <= value <= LARGEST:
        return (value,) * axes
    if type(value) is tuple and len(value) == axes:
        for v in value:
            if type(v) is not int or not least <= v <= LARGEST:
                break
        else:
            return value
    try:
        values = tuple([integer(v) for v in (value if isinstance(value, (tuple, list)) else (value,))])
    except TypeError:
        values = ()
    if len(values) == 1 and (one_for_all or not isinstance(value, (tuple, list))):
        values *= axes
    if len(values) != axes or min(values) < least or max(values) > LARGEST:
        raise ValueError(f"{name}: {argument} = {value!r} must be an integer of at least {least}, or {axes} of them"
                         + (f" (and at most {LARGEST})" if values and max(values) > LARGEST else ""))
    return values
