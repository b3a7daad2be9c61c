"""Arithmetic, element by element: sums, products, quotients, powers.

Operands of any shapes that broadcast → their common shape, in their common type. Raises TypeError for what is neither a
tensor nor a number, RuntimeError for shapes that do not broadcast and for bool where it is refused. As in PyTorch, but
for a Python number that does not fit into the integers it meets: it raises ValueError, PyTorch wraps it around.
"""

from collections.abc import Callable

import numpy as np

from .. import dtypes
from ..backend import arithmetic_for, array_module
from ..engine import Function, Tensor
from .basic import (Broadcasting, Number, TensorOrNumber, check_factor, float_result, no_gradient, operands,
                    refuse_bool)
from .comparison import where
from .pointwise import reciprocal, rsqrt, sqrt, square, unary

__all__ = ["abs", "absolute", "add", "div", "divide", "floor_divide", "fmod", "mul", "multiply", "neg", "negative",
           "pow", "remainder", "rsub", "sub", "subtract", "true_divide"]


# -- operations -----------------------------------------------------------------------------------------------------

class Add(Broadcasting):
    """y = a + b;  ga = gy,  gb = gy."""

    def forward(self, a, b):
        return arithmetic_for(a, b).add(a, b)

    def backward(self, gy):
        return gy, gy


class Sub(Broadcasting):
    """y = a − b;  ga = gy,  gb = −gy."""

    def forward(self, a, b):
        return arithmetic_for(a, b).sub(a, b)

    def backward(self, gy):
        return gy, -gy if self.needs[1] else None


class Mul(Broadcasting):
    """y = a·b;  ga = gy·b,  gb = gy·a."""

    def forward(self, a, b):
        needs_a, needs_b = self.needs
        self.save(a if needs_b else None, b if needs_a else None)
        return arithmetic_for(a, b).mul(a, b)

    def backward(self, gy):
        a, b = self.saved
        return gy * b if self.needs[0] else None, gy * a if self.needs[1] else None


class Div(Broadcasting):
    """y = a/b;  ga = gy/b,  gb = −gy·a/b² = −ga·a/b."""

    def forward(self, a, b):
        self.save(a if self.needs[1:] == (True,) else None, b)
        return arithmetic_for(a, b).truediv(a, b)

    def backward(self, gy):
        a, b = self.saved
        ga = gy / b
        return ga, -ga * (a / b) if self.needs[1] else None


class Pow(Broadcasting):
    """y = aᵇ;  ga = gy·b·aᵇ⁻¹ (0 where b = 0),  gb = gy·y·ln a (0 where a = 0 and b ≥ 0)."""

    def forward(self, a, b):
        y = _power(a, b)
        self.save(a, b, y)
        return y

    def backward(self, gy):
        a, b, y = self.saved
        ga = gb = None
        if self.needs[0]:
            ga = gy * (b * a ** where(b == 0, 0.0, b - 1))  # 0·a⁰ where b = 0
        if self.needs[1]:
            gb = gy * where((a == 0) & (b >= 0), 0.0, y * a.log())
        return ga, gb


def _power(a, b):
    """aᵇ; NumPy takes a hundred times as long where a is negative, so for whole b the sign is put aside."""
    if b.ndim or not isinstance(a, np.ndarray) or not dtypes.is_floating(a.dtype) or not float(b).is_integer():
        return a ** b
    y = abs_(a) ** b
    return np.copysign(y, a) if b % 2 else y


class Neg(Function):
    """y = −x;  gx = −gy."""

    def forward(self, x):
        return -x

    def backward(self, gy):
        return -gy


class Abs(Function):
    """y = |x|;  gx = gy·sign x, so 0 at x = 0."""

    def forward(self, x):
        self.save(x)
        return abs_(x)

    def backward(self, gy):
        return gy * self.saved[0].sign()


class RoundedDiv(Broadcasting):
    """y = ⌊a/b⌋, or with "trunc" a/b without its fraction: constant between jumps, so ga = gb = 0."""

    def __init__(self, rounding: str) -> None:
        self.rounding = rounding

    def forward(self, a, b):
        xp = array_module(a)
        if self.rounding == "floor":
            return xp.floor_divide(a, b)
        return xp.trunc(a / b) if dtypes.is_floating(a.dtype) else xp.floor_divide(a - xp.fmod(a, b), b)

    def backward(self, gy):
        return no_gradient(gy), no_gradient(gy)


class Remainder(Broadcasting):
    """y = a − b·⌊a/b⌋ (sign of b);  ga = gy,  gb = −gy·⌊a/b⌋.  With trunc for floor: fmod (sign of a)."""

    def __init__(self, rounding: str) -> None:
        self.rounding = rounding

    def forward(self, a, b):
        self.save(a, b)
        xp = array_module(a)
        return xp.remainder(a, b) if self.rounding == "floor" else xp.fmod(a, b)

    def backward(self, gy):
        a, b = self.saved
        return gy, -gy * div(a, b, rounding_mode=self.rounding) if self.needs[1] else None


# -- public functions -----------------------------------------------------------------------------------------------

def _scaled(name: str, input: TensorOrNumber, other: TensorOrNumber, alpha: Number) -> TensorOrNumber:
    """other · alpha, in the type it has in a sum with input."""
    if type(alpha) is int and alpha == 1:
        return other
    dtype = dtypes.result_type(input, other)
    check_factor(name, "alpha", alpha, dtype)
    if isinstance(alpha, bool) and dtype != dtypes.bool_:
        raise RuntimeError(f"{name}: alpha = {alpha} must be a number, except for bool tensors")
    return (other.to(dtype) * alpha).to(dtype) if isinstance(other, Tensor) else other * alpha


def add(input: TensorOrNumber, other: TensorOrNumber, *, alpha: Number = 1) -> Tensor:
    """y = input + alpha·other; the gradients are gy and alpha·gy."""
    return Add()(*operands("add", input, _scaled("add", input, other, alpha)))


def sub(input: TensorOrNumber, other: TensorOrNumber, *, alpha: Number = 1) -> Tensor:
    """y = input − alpha·other, the gradients are gy and −alpha·gy; bool tensors are refused."""
    refuse_bool("sub", input, other, hint="use logical_xor or logical_not")
    return Sub()(*operands("sub", input, _scaled("sub", input, other, alpha)))


def rsub(input: Tensor, other: TensorOrNumber, *, alpha: Number = 1) -> Tensor:
    """other − alpha·input, broadcast."""
    return sub(other, input, alpha=alpha)


def mul(input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    """y = input·other; the gradients are gy·other and gy·input."""
    return Mul()(*operands("mul", input, other))


def div(input: TensorOrNumber, other: TensorOrNumber, *, rounding_mode: str | None = None) -> Tensor:
    """y = input/other, integers give float32; the gradients are gy/other and −gy·input/other².

    rounding_mode "floor" or "trunc" rounds; integers stay integers then, and the gradient is 0.
    true_divide and divide are the same function; PyTorch's true_divide has no rounding_mode, and its documentation
    calls the operands dividend and divisor.
    """
    if rounding_mode is None:
        return Div()(*operands("div", input, other, dtype=float_result(input, other)))
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(f"div: rounding_mode {rounding_mode!r} must be None, 'trunc' or 'floor'")
    return _whole("div", RoundedDiv(rounding_mode), input, other)


def floor_divide(input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    """⌊input / other⌋, broadcast; its gradient is 0."""
    return _whole("floor_divide", RoundedDiv("floor"), input, other)


def remainder(input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    """y = input − other·⌊input/other⌋, the remainder with the sign of other, as Python's %.

    The gradients are gy and −gy·⌊input/other⌋.
    """
    return _whole("remainder", Remainder("floor"), input, other)


def fmod(input: Tensor, other: TensorOrNumber) -> Tensor:
    """The remainder with the sign of input, as C's fmod."""
    return _whole("fmod", Remainder("trunc"), input, other)


def _whole(name: str, operation: Function, input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    a, b = operands(name, input, other)
    refuse_bool(name, a)
    if not dtypes.is_floating(b.dtype) and a.data.size and not b.data.all():
        raise RuntimeError(f"{name}: integer division by zero")
    return operation(a, b)


def _product(a, b):
    return arithmetic_for(a, b).mul(a, b)


_cube = unary("cube", "x³.", lambda xp, x: _product(_product(x, x), x), lambda gy, x: gy * (3 * (x * x)))
_inverse_square = unary("inverse_square", "1/x².", lambda xp, x: xp.reciprocal(_product(x, x)),
                        lambda gy, x, y: gy * (-2 * (y / x)))

# The exponents for which PyTorch, too, has shorter ways.
SHORT_CUTS: dict[object, Callable[[Tensor], Tensor]] = {2: square, 3: _cube, 0.5: sqrt, -0.5: rsqrt, -1: reciprocal,
                                                        -2: _inverse_square}


def pow(input: TensorOrNumber, exponent: TensorOrNumber) -> Tensor:
    """y = input to the power of exponent; the gradients are gy·exponent·y/input and gy·y·ln(input).

    Integers to negative integer powers raise; PyTorch does so only if the exponent is a number. A number as input it
    calls self.
    """
    if type(exponent) in (int, float) and exponent in SHORT_CUTS and isinstance(input, Tensor) and \
            input.is_floating_point():
        return SHORT_CUTS[exponent](input)
    a, b = operands("pow", input, exponent)
    refuse_bool("pow", a)
    if not dtypes.is_floating(b.dtype) and (b.data < 0).any():
        raise RuntimeError("pow: integers to negative integer powers are not allowed; convert to float first")
    return Pow()(a, b)


def neg(input: Tensor) -> Tensor:
    """y = −input, gx = −gy; bool tensors are refused."""
    refuse_bool("neg", input, hint="use logical_not or ~")
    return Neg()(input)


abs_ = abs  # Python's own, which the operation below hides


def abs(input: Tensor) -> Tensor:
    """|input|; the gradient at 0 is 0."""
    refuse_bool("abs", input)
    return Abs()(input)


subtract, multiply, divide, true_divide, negative, absolute = sub, mul, div, div, neg, abs
