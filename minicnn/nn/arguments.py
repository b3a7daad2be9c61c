"""Checks of what layers are constructed with, shared by all of them."""

from numbers import Integral, Real
from typing import Any

from ..ops.creation import empty
from ..engine import Parameter


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is an integer, which True is not, and not too small."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def whole(layer: str, argument: str, value: Any, least: int = 1) -> int:
    """The integer, after the check that it is one and not too small."""
    if not is_whole(value, least):
        raise ValueError(f"{layer}: {argument} = {value!r} must be an integer of at least {least}")
    return int(value)


def per_axis(layer: str, argument: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """One integer per spatial axis, from a number or a sequence of that length."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(values) != axes or not all(is_whole(v, least) for v in values):
        raise ValueError(f"{layer}: {argument} = {value!r} must be an integer of at least {least} or {axes} of them")
    return tuple([int(v) for v in values])


def probability(layer: str, value: Any) -> float:
    """The number, after the check that it is a probability."""
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"{layer}: p = {value!r} must be a probability, 0 to 1")
    return value  # type: ignore[return-value]


def parameter(shape: tuple[int, ...], dtype: Any, device: Any) -> Parameter:
    """A parameter whose values are still to be set."""
    return Parameter(empty(shape, dtype=dtype, device=device))
