"""Arithmetic, comparison and choice, element by element.

An operation of several tensors sees equal shapes and equal types: ``operands`` converts and expands them first, with
operations of their own (``Cast``, ``Expand``), whose backward casts back and sums over the expanded axes. So no
operation here needs to know that broadcasting exists.
"""

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module
from ..engine import Function, Tensor

__all__ = ["abs", "absolute", "add", "allclose", "arctan2", "atan2", "clamp", "clamp_max", "clamp_min", "clip",
           "clone", "contiguous", "copysign", "div", "divide", "eq", "equal", "floor_divide", "fmax", "fmin", "fmod",
           "ge", "greater", "greater_equal", "gt", "isclose", "le", "less", "less_equal", "logical_and", "logical_not",
           "logical_or", "logical_xor", "lt", "maximum", "minimum", "mul", "multiply", "ne", "neg", "negative",
           "not_equal", "pow", "remainder", "rsub", "sub", "subtract", "to", "true_divide", "where"]

Number = bool | int | float
TensorOrNumber = Tensor | Number


# -- operands -------------------------------------------------------------------------------------------------------

def as_operand(value: Any, dtype: np.dtype, like: Any) -> Tensor:
    """A tensor, or a Python number as a 0-d tensor, in the dtype; ``like`` is an array on the right device."""
    if isinstance(value, Tensor):
        return value if value.data.dtype == dtype else Cast(dtype)(value)
    try:
        return Tensor(array_module(like).asarray(value, dtype=dtype))
    except OverflowError:
        raise ValueError(f"{value} does not fit into {dtype}; convert the tensor first, with .to()") from None


def expect_tensor(name: str, input: Any) -> None:
    """Raise where a function of one tensor was given something else."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: input must be a Tensor, not {type(input).__name__}; wrap it with minicnn.tensor(...)")


def broadcast_shapes(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of operands; an error that shows all of them where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise RuntimeError(f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast: counted from the right, "
                           "lengths must be equal or 1") from None


def _check(name: str, *values: Any) -> None:
    for value in values:
        if not isinstance(value, (Tensor, bool, int, float, np.generic)):
            raise TypeError(f"{name}: expected a Tensor or a number, got {type(value).__name__}; "
                            "wrap arrays with minicnn.tensor(...) or minicnn.from_numpy(...)")


def operands(name: str, *values: TensorOrNumber, dtype: np.dtype | None = None) -> tuple[Tensor, ...]:
    """The values, of which at least one is a Tensor, as tensors of one type and one shape."""
    if len(values) == 2 and dtype is None:  # the common cases, without the general rules
        a, b = values
        if isinstance(a, Tensor):
            if isinstance(b, Tensor) and a.data.shape == b.data.shape and a.data.dtype == b.data.dtype:
                return a, b
            if type(b) in (int, float) and dtypes.is_floating(a.data.dtype):
                return a, as_operand(b, a.data.dtype, a.data)
    _check(name, *values)
    like = next((v.data for v in values if isinstance(v, Tensor)), None)
    if like is None:
        raise TypeError(f"{name}: expected at least one Tensor, got {' and '.join(map(repr, values))}")
    dtype = dtype or dtypes.result_type(*values)
    tensors = [as_operand(v, dtype, like) for v in values]
    shapes = [t.data.shape for t in tensors]
    if len(set(shapes)) > 1:
        shape = broadcast_shapes(name, *shapes)
        # a constant without axes is left to NumPy, which has fast loops for it; a shape that matters is expanded
        tensors = [t if t.data.shape == shape or not t.data.ndim and not t.requires_grad else t.expand(shape)
                   for t in tensors]
    return tuple(tensors)


def no_gradient(gy: Tensor) -> Tensor:
    """The gradient of a function that is constant between its jumps: zeros, whatever gy is."""
    return Tensor(array_module(gy.data).zeros_like(gy.data))


def float_result(a: TensorOrNumber, b: TensorOrNumber) -> np.dtype:
    dtype = dtypes.result_type(a, b)
    return dtype if dtypes.is_floating(dtype) else dtypes.default


# -- types and copies -----------------------------------------------------------------------------------------------

class Cast(Function):
    """y = x in another type; the gradient is cast back."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def forward(self, x):
        self.source = x.dtype
        return x.astype(self.dtype)

    def backward(self, gy):
        return gy.to(self.source)


class Clone(Function):
    """y = x in memory of its own."""

    def forward(self, x):
        return x.copy()

    def backward(self, gy):
        return gy


def to(input: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False) -> Tensor:
    """The tensor in another dtype and/or on another device: ``x.to("cuda")``, ``x.to(mc.float64)``, ``x.to(other)``.

    Returns the tensor itself where nothing changes, unless ``copy``. Gradients are converted back.
    """
    from ..backend import Device, move

    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, Device) or isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
            device = arg
        else:
            dtype = arg
    result = input
    if dtype is not None and (dtype := dtypes.as_dtype(dtype)) != input.dtype:
        result = Cast(dtype)(result)
    if device is not None and (device := Device.parse(device)) != result.device:
        moved = move(result.data, device)
        result = Move(device)(result) if result.requires_grad else Tensor(moved)
    return clone(result) if copy and result is input else result


class Move(Function):
    """y = x on another device; the gradient is moved back."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def forward(self, x):
        from ..backend import device_of, move

        self.source = device_of(x)
        return move(x, self.device)

    def backward(self, gy):
        return gy.to(device=self.source)


def clone(input: Tensor) -> Tensor:
    """A copy; gradients flow through it. y = x, gx = gy."""
    return Clone()(input)


def contiguous(input: Tensor) -> Tensor:
    """The tensor itself if its memory is in C order, otherwise a copy that is."""
    return input if input.data.flags.c_contiguous else Contiguous()(input)


class Contiguous(Clone):
    """y = x in C order."""

    def forward(self, x):
        return x.copy(order="C")


# -- arithmetic -----------------------------------------------------------------------------------------------------

class Add(Function):
    """y = a + b;  ga = gy,  gb = gy."""

    def forward(self, a, b):
        return a + b

    def backward(self, gy):
        return gy, gy


class Sub(Function):
    """y = a − b;  ga = gy,  gb = −gy."""

    def forward(self, a, b):
        return a - b

    def backward(self, gy):
        return gy, -gy if self.needs[1] else None


class Mul(Function):
    """y = a·b;  ga = gy·b,  gb = gy·a."""

    def forward(self, a, b):
        self.save(a if self.needs[1:] == (True,) else None, b if self.needs[:1] == (True,) else None)
        return a * b

    def backward(self, gy):
        a, b = self.saved
        return gy * b if self.needs[0] else None, gy * a if self.needs[1] else None


class Div(Function):
    """y = a/b;  ga = gy/b,  gb = −gy·a/b² = −ga·y."""

    def forward(self, a, b):
        y = a / b
        self.save(b, y)
        return y

    def backward(self, gy):
        b, y = self.saved
        ga = gy / b
        return ga, -ga * y if self.needs[1] else None


class Pow(Function):
    """y = aᵇ;  ga = gy·b·aᵇ⁻¹ (0 where b = 0),  gb = gy·y·ln a (0 where a = 0 and b ≥ 0)."""

    def forward(self, a, b):
        y = a ** b
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


class RoundedDiv(Function):
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


class Remainder(Function):
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


def _no_bool(name: str, *values: Any, hint: str = "convert them with .int()") -> None:
    for value in values:
        if isinstance(value, Tensor) and value.data.dtype == dtypes.bool_:
            raise RuntimeError(f"{name}: bool tensors are not supported; {hint}")


def _scaled(name: str, input: TensorOrNumber, other: TensorOrNumber, alpha: Number) -> TensorOrNumber:
    if isinstance(alpha, float) and not dtypes.is_floating(dtypes.result_type(input, other)):
        raise RuntimeError(f"{name}: alpha = {alpha} must be an integer for integer tensors")
    return other * alpha


def add(input: TensorOrNumber, other: TensorOrNumber, *, alpha: Number = 1) -> Tensor:
    """input + alpha·other, broadcast."""
    return Add()(*operands("add", input, other if alpha == 1 else _scaled("add", input, other, alpha)))


def sub(input: TensorOrNumber, other: TensorOrNumber, *, alpha: Number = 1) -> Tensor:
    """input − alpha·other, broadcast; bool tensors are refused."""
    _no_bool("sub", input, other, hint="use logical_xor or logical_not")
    return Sub()(*operands("sub", input, other if alpha == 1 else _scaled("sub", input, other, alpha)))


def rsub(input: TensorOrNumber, other: TensorOrNumber, *, alpha: Number = 1) -> Tensor:
    """other − alpha·input, broadcast."""
    return sub(other, input, alpha=alpha)


def mul(input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    """input · other, element by element, broadcast."""
    return Mul()(*operands("mul", input, other))


def div(input: TensorOrNumber, other: TensorOrNumber, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, broadcast; integers give float32.

    rounding_mode "floor" or "trunc" rounds; integers stay integers then, and the gradient is 0.
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
    """input − other·⌊input/other⌋: the remainder with the sign of other, as Python's %."""
    return _whole("remainder", Remainder("floor"), input, other)


def fmod(input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    """The remainder with the sign of input, as C's fmod."""
    return _whole("fmod", Remainder("trunc"), input, other)


def _whole(name: str, operation: Function, input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    a, b = operands(name, input, other)
    _no_bool(name, a)
    if not dtypes.is_floating(b.dtype) and not b.data.all():
        raise RuntimeError(f"{name}: integer division by zero")
    return operation(a, b)


SHORT_CUTS: dict[object, str] = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}


def pow(input: TensorOrNumber, exponent: TensorOrNumber) -> Tensor:
    """input to the power of exponent, broadcast.

    Integers to negative integer powers raise; PyTorch does so only if the exponent is a number.
    """
    if type(exponent) in (int, float) and exponent in SHORT_CUTS and isinstance(input, Tensor) and \
            input.is_floating_point():
        return getattr(input, SHORT_CUTS[exponent])()
    a, b = operands("pow", input, exponent)
    _no_bool("pow", a)
    if not dtypes.is_floating(b.dtype) and (b.data < 0).any():
        raise RuntimeError("pow: integers to negative integer powers are not allowed; convert to float first")
    return Pow()(a, b)


def neg(input: Tensor) -> Tensor:
    """−input; bool tensors are refused."""
    _no_bool("neg", input, hint="use logical_not or ~")
    return Neg()(input)


abs_ = abs  # Python's own, which the operation below hides


def abs(input: Tensor) -> Tensor:
    """|input|; the gradient at 0 is 0."""
    _no_bool("abs", input)
    return Abs()(input)


# -- extremes and choice --------------------------------------------------------------------------------------------

class Extreme(Function):
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
    """The larger of both, NaN if one is NaN; the gradient is halved between equals."""
    return Extreme("maximum")(*operands("maximum", input, other))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of both, NaN if one is NaN; the gradient is halved between equals."""
    return Extreme("minimum")(*operands("minimum", input, other))


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of both, the other one where one is NaN; the gradient goes to input between equals."""
    return Extreme("fmax")(*operands("fmax", input, other))


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of both, the other one where one is NaN; the gradient goes to input between equals."""
    return Extreme("fmin")(*operands("fmin", input, other))


class Clamp(Function):
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
    x, *bounds = operands("clamp", input, *[bound for bound in (min, max) if bound is not None])
    return Clamp()(x, None if min is None else bounds[0], None if max is None else bounds[-1])


clip = clamp


def clamp_min(input: Tensor, min: TensorOrNumber) -> Tensor:
    """max(input, min), with clamp's gradient."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: TensorOrNumber) -> Tensor:
    """min(input, max), with clamp's gradient."""
    return clamp(input, max=max)


class Where(Function):
    """y = a where condition, else b;  ga = gy where condition else 0,  gb the rest."""

    def forward(self, condition, a, b):
        self.save(condition)
        return array_module(condition).where(condition, a, b)

    def backward(self, gy):
        (condition,) = self.saved
        return (None, where(condition, gy, 0.0) if self.needs[1] else None,
                where(condition, 0.0, gy) if self.needs[2] else None)


def where(condition: Tensor, input: TensorOrNumber | None = None, other: TensorOrNumber | None = None) -> Any:
    """input where condition is true, else other, broadcast; condition alone: its true indices, one tensor per axis."""
    if input is None and other is None:
        return tuple(Tensor(i) for i in condition.data.nonzero())
    if condition.dtype != dtypes.bool_:
        raise RuntimeError(f"where: condition must be a bool tensor, not {condition.dtype}")
    _check("where", input, other)
    dtype = dtypes.result_type(input, other)
    a, b = as_operand(input, dtype, condition.data), as_operand(other, dtype, condition.data)
    shape = broadcast_shapes("where", condition.shape, a.shape, b.shape)
    if a.requires_grad and a.shape != shape:
        a = a.expand(shape)
    if b.requires_grad and b.shape != shape:
        b = b.expand(shape)
    return Where()(condition, a, b)


class Atan2(Function):
    """y = angle of (b, a);  ga = gy·b/(a² + b²),  gb = −gy·a/(a² + b²), 0 at the origin."""

    def forward(self, a, b):
        self.save(a, b)
        return array_module(a).arctan2(a, b)

    def backward(self, gy):
        a, b = self.saved
        square = a * a + b * b
        scaled = where(square == 0, 0.0, gy / square)
        return scaled * b, -scaled * a


def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input), in −π … π."""
    return Atan2()(*operands("atan2", input, other, dtype=float_result(input, other)))


class CopySign(Function):
    """y = |a| with the sign of b;  ga = gy·y/a (0 at a = 0),  gb = 0."""

    def forward(self, a, b):
        y = array_module(a).copysign(a, b)
        self.save(a, y)
        return y

    def backward(self, gy):
        a, y = self.saved
        return where(a == 0, 0.0, gy * (a.sign() * y.sign())), no_gradient(gy)


def copysign(input: Tensor, other: TensorOrNumber) -> Tensor:
    """|input| with the sign of other."""
    return CopySign()(*operands("copysign", input, other, dtype=float_result(input, other)))


# -- comparison: bool results, no gradients -------------------------------------------------------------------------

def _compare(ufunc: str) -> Any:
    def compare(input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
        _check(ufunc, input, other)
        dtype = dtypes.result_type(input, other)
        if isinstance(input, Tensor) and isinstance(other, Tensor):
            broadcast_shapes(ufunc, input.shape, other.shape)
        # a number that does not fit into the dtype is compared by its value (PyTorch wraps it round)
        a, b = [v.data.astype(dtype, copy=False) if isinstance(v, Tensor)
                else v.item() if isinstance(v, np.generic) else v for v in (input, other)]
        return Tensor(getattr(array_module(a if isinstance(input, Tensor) else b), ufunc)(a, b))

    return compare


def _logical(ufunc: str) -> Any:
    def logical(input: Tensor, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            raise TypeError(f"{ufunc}: other must be a Tensor, not {type(other).__name__}")
        broadcast_shapes(ufunc, input.shape, other.shape)
        return Tensor(getattr(array_module(input.data), ufunc)(input.data, other.data))

    return logical


def named(function: Any, name: str, doc: str) -> Any:
    """The function, with what help() shows of it."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


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
    broadcast_shapes("isclose", input.shape, other.shape)
    return Tensor(array_module(input.data).isclose(input.data, other.data, rtol, atol, equal_nan))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether isclose holds for all elements."""
    return bool(isclose(input, other, rtol, atol, equal_nan).data.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and the same elements."""
    return input.shape == other.shape and bool((input.data == other.data).all())


subtract, multiply, divide, true_divide, negative, absolute, arctan2 = sub, mul, div, div, neg, abs, atan2
