"""Comparison, logic, and what is chosen by them: the larger of two, values within bounds, one or the other.

Operands of any shapes that broadcast → their common shape; comparisons and logic give bool, without gradient. Raises
TypeError for what is neither a tensor nor a number, RuntimeError for shapes that do not broadcast. As in PyTorch.
"""

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module, current, one_device
from ..engine import Tensor
from .basic import (Broadcasting, TensorOrNumber, as_operand, broadcast_shapes, expect_operands, named, operands,
                    refuse_bool)

__all__ = ["allclose", "clamp", "clamp_max", "clamp_min", "clip", "eq", "equal", "fmax", "fmin", "ge", "greater",
           "greater_equal", "gt", "isclose", "le", "less", "less_equal", "logical_and", "logical_not", "logical_or",
           "logical_xor", "lt", "maximum", "minimum", "ne", "not_equal", "where"]


# -- comparison: bool results, no gradients -------------------------------------------------------------------------

def _compare(ufunc: str) -> Any:
    def compare(input: Tensor, other: TensorOrNumber) -> Tensor:
        expect_operands(ufunc, other)
        dtype = dtypes.result_type(input, other)
        a, b = input.data.astype(dtype, copy=False), other
        if isinstance(other, Tensor):
            one_device(ufunc, input.data, other.data)
            broadcast_shapes(ufunc, input.shape, other.shape)
            b = other.data.astype(dtype, copy=False)  # type: ignore[assignment]
        elif isinstance(other, np.generic):
            b = other.item()
        # a number that does not fit into the dtype is compared by its value (PyTorch wraps it round)
        if type(a) is np.ndarray:
            return Tensor(getattr(np, ufunc)(a, b))
        with current(a):
            return Tensor(getattr(array_module(a), ufunc)(a, b))

    return compare


def _logical(ufunc: str) -> Any:
    def logical(input: Tensor, other: Tensor) -> Tensor:
        one_device(ufunc, input.data, other.data)
        broadcast_shapes(ufunc, input.shape, other.shape)
        return Tensor(getattr(array_module(input.data), ufunc)(input.data, other.data))

    return logical


eq = named(_compare("equal"), "eq", "input == other, element by element, as bool.")
ne = named(_compare("not_equal"), "ne", "input != other, element by element, as bool.")
lt = named(_compare("less"), "lt", "input < other, element by element, as bool.")
le = named(_compare("less_equal"), "le", "input <= other, element by element, as bool.")
gt = named(_compare("greater"), "gt", "input > other, element by element, as bool.")
ge = named(_compare("greater_equal"), "ge", "input >= other, element by element, as bool.")
not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge
logical_and = named(_logical("logical_and"), "logical_and", "True where both are nonzero.")
logical_or = named(_logical("logical_or"), "logical_or", "True where at least one is nonzero.")
logical_xor = named(_logical("logical_xor"), "logical_xor", "True where exactly one is nonzero.")


def logical_not(input: Tensor) -> Tensor:
    """True where input is zero."""
    return Tensor(array_module(input.data).logical_not(input.data))


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """|input − other| ≤ atol + rtol·|other|, element by element."""
    if input.dtype != other.dtype:
        raise RuntimeError(f"isclose: {input.dtype} and {other.dtype} differ; convert one with .to()")
    if not (rtol >= 0 and atol >= 0):
        raise RuntimeError(f"isclose: rtol = {rtol} and atol = {atol} must not be negative")
    one_device("isclose", input.data, other.data)
    broadcast_shapes("isclose", input.shape, other.shape)
    return Tensor(array_module(input.data).isclose(input.data, other.data, rtol, atol, equal_nan))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether isclose holds for all elements."""
    return bool(isclose(input, other, rtol, atol, equal_nan).data.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and the same elements."""
    one_device("equal", input.data, other.data)
    return input.shape == other.shape and bool((input.data == other.data).all())


# -- extremes and choice --------------------------------------------------------------------------------------------

class Extreme(Broadcasting):
    """y = max(a, b) or min(a, b);  the gradient goes to the one chosen, half to each where they are equal.

    maximum and minimum let NaN through; fmax and fmin take the other operand where one is NaN.
    """

    def __init__(self, name: str) -> None:
        self.ufunc = name

    def forward(self, a, b):
        self.save(a, b)
        return getattr(array_module(a), self.ufunc)(a, b)

    def backward(self, gy):
        a, b = self.saved
        if self.ufunc in ("fmax", "fmin"):  # PyTorch: ties and NaN in b go to a
            to_a = (a >= b if self.ufunc == "fmax" else a <= b) | (b != b)
            return where(to_a, gy, 0.0), where(to_a, 0.0, gy)
        half = where(a == b, gy * 0.5, gy)
        loses_a, loses_b = (a < b, b < a) if self.ufunc == "maximum" else (a > b, b > a)
        return where(loses_a, 0.0, half), where(loses_b, 0.0, half)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """y = max(input, other), NaN if one is NaN; the gradient is halved between equals."""
    return Extreme("maximum")(*operands("maximum", input, other))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """y = min(input, other), NaN if one is NaN; the gradient is halved between equals."""
    return Extreme("minimum")(*operands("minimum", input, other))


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """y = max(input, other), the other one where one is NaN; the gradient goes to input between equals."""
    return Extreme("fmax")(*operands("fmax", input, other))


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """y = min(input, other), the other one where one is NaN; the gradient goes to input between equals."""
    return Extreme("fmin")(*operands("fmin", input, other))


class Clamp(Broadcasting):
    """y = min(max(x, low), high);  each gets gy where y is taken from it: x inside the bounds and at them."""

    def forward(self, x, low, high):
        self.save(x, low, high)
        xp = array_module(x)
        y = x if low is None else xp.maximum(x, low)
        return y if high is None else xp.minimum(y, high)

    def backward(self, gy):
        x, low, high = self.saved
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        return (where((x >= low) & (x <= high), gy, 0.0) if self.needs[0] else None,
                where((x < low) & (low < high), gy, 0.0) if self.needs[1] else None,
                where((x > high) | (high < low), gy, 0.0) if self.needs[2] else None)


def clamp(input: Tensor, min: TensorOrNumber | None = None, max: TensorOrNumber | None = None) -> Tensor:
    """min(max(input, min), max), broadcast; NaN in any of them gives NaN. The gradient at a bound is gy."""
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    if min is not None and max is not None and isinstance(min, Tensor) != isinstance(max, Tensor):
        raise TypeError(f"clamp: min is a {type(min).__name__}, max a {type(max).__name__}; they must both be tensors "
                        "or both be numbers")
    given = [bound for bound in (min, max) if bound is not None]
    x, *bounds = operands("clamp", input, *given)
    if len(given) == 2 or not isinstance(given[0], Tensor):  # bools are bounded by one tensor alone, as in PyTorch
        refuse_bool("clamp", x, hint="use logical_and and logical_or")
    return Clamp()(x, None if min is None else bounds[0], None if max is None else bounds[-1])


clip = clamp


def clamp_min(input: Tensor, min: TensorOrNumber) -> Tensor:
    """y = max(input, min), with clamp's gradient."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: TensorOrNumber) -> Tensor:
    """y = min(input, max), with clamp's gradient."""
    return clamp(input, max=max)


class Where(Broadcasting):
    """y = a where condition, else b;  ga = gy where condition else 0,  gb the rest."""

    def forward(self, condition, a, b):
        self.save(condition)
        return array_module(condition).where(condition, a, b)

    def backward(self, gy):
        (condition,) = self.saved
        return (None, where(condition, gy, 0.0) if self.needs[1] else None,
                where(condition, 0.0, gy) if self.needs[2] else None)


def where(condition: Tensor, input: TensorOrNumber | None = None, other: TensorOrNumber | None = None) -> Any:
    """y = input where condition is true, else other; the gradient goes to the one that was taken.

    condition alone: its true indices, one tensor per axis.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if condition.dtype != dtypes.bool_:
        raise RuntimeError(f"where: condition must be a bool tensor, not {condition.dtype}")
    expect_operands("where", input, other)
    dtype = dtypes.result_type(input, other)
    a, b = as_operand(input, dtype, condition.data), as_operand(other, dtype, condition.data)
    broadcast_shapes("where", condition.shape, a.shape, b.shape)
    return Where()(condition, a, b)
