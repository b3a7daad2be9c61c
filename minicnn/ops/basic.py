"""What every operation builds on: operands of one type and one shape, conversions and copies.

An operation of several tensors sees equal types: ``operands`` converts them first, with an operation of its own
(``Cast``), whose backward casts back. A ``Broadcasting`` one may see shapes that differ: NumPy repeats what is short,
and the walk back sums each gradient over the axes along which its tensor was repeated. So no formula knows of either.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import LARGE, Device, array_module, current, device_of, kernels_for, move
from ..engine import Function, Tensor, sum_to

__all__ = ["clone", "contiguous", "to"]

Number = bool | int | float
TensorOrNumber = Tensor | Number


# -- operands -------------------------------------------------------------------------------------------------------

def as_operand(value: Any, dtype: np.dtype, like: Any) -> Tensor:
    """A tensor, or a Python number as a 0-d tensor, in the dtype; ``like`` is an array on the right device."""
    if isinstance(value, Tensor):
        return value if value.data.dtype == dtype else Cast(dtype)(value)
    if isinstance(value, str):  # NumPy would read a number in it
        raise TypeError(f"expected a Tensor or a number, got {value!r}")
    try:
        if isinstance(like, np.ndarray):
            return Tensor(np.asarray(value, dtype=dtype))
        with current(like):
            return Tensor(array_module(like).asarray(value, dtype=dtype))
    except OverflowError:
        raise ValueError(f"{value} does not fit into {dtype}; convert the tensor first, with .to()") from None


@lru_cache
def broadcast_shapes(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of operands; an error that shows all of them where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise RuntimeError(f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast: counted from the right, "
                           "lengths must be equal or 1") from None


def expect_tensors(name: str, values: Iterable[Any]) -> None:
    """Raise where one of several operands of a function is no Tensor."""
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: operand {i} must be a Tensor, not {type(value).__name__}; make one with "
                            "minicnn.tensor(...)")


def expect_operands(name: str, *values: Any) -> None:
    """Raise where one of the values is neither a Tensor nor a number."""
    for value in values:
        if not isinstance(value, (Tensor, bool, int, float, np.generic)):
            raise TypeError(f"{name}: expected a Tensor or a number, got {type(value).__name__}; "
                            "wrap arrays with minicnn.tensor(...) or minicnn.from_numpy(...)")


def operands(name: str, *values: TensorOrNumber, dtype: np.dtype | None = None) -> tuple[Tensor, ...]:
    """The values, of which at least one is a Tensor, as tensors of one type and of shapes that broadcast."""
    if len(values) == 2 and dtype is None:  # the common cases, without the general rules
        a, b = values
        if isinstance(a, Tensor):
            if isinstance(b, Tensor):
                if a.data.dtype == b.data.dtype:
                    if a.data.shape != b.data.shape:
                        broadcast_shapes(name, a.data.shape, b.data.shape)
                    return a, b
            elif type(b) in (int, float) and dtypes.is_floating(a.data.dtype):
                return a, as_operand(b, a.data.dtype, a.data)
        elif isinstance(b, Tensor) and type(a) in (int, float) and dtypes.is_floating(b.data.dtype):
            return as_operand(a, b.data.dtype, b.data), b
    expect_operands(name, *values)
    like = next((v.data for v in values if isinstance(v, Tensor)), None)
    if like is None:
        raise TypeError(f"{name}: expected at least one Tensor, got {' and '.join(map(repr, values))}")
    dtype = dtype or dtypes.result_type(*values)
    tensors = tuple([as_operand(v, dtype, like) for v in values])
    broadcast_shapes(name, *[t.data.shape for t in tensors])
    return tensors


def refuse_bool(name: str, *values: Any, hint: str = "convert them with .int()") -> None:
    """Raise where one of the values is a bool or a tensor of bools."""
    for value in values:
        if isinstance(value, bool) or isinstance(value, Tensor) and value.data.dtype == dtypes.bool_:
            raise RuntimeError(f"{name}: bool tensors are not supported; {hint}")


def check_factor(name: str, argument: str, factor: Number, dtype: np.dtype) -> None:
    """Raise where a fraction is to multiply integers."""
    if isinstance(factor, float) and not dtypes.is_floating(dtype):
        raise RuntimeError(f"{name}: {argument} = {factor} must be an integer for integer tensors")


def no_gradient(gy: Tensor) -> Tensor:
    """The gradient of a function that is constant between its jumps: zeros, whatever gy is."""
    return Tensor(array_module(gy.data).zeros_like(gy.data))


def float_result(a: TensorOrNumber, b: TensorOrNumber) -> np.dtype | None:
    """The type to give ``operands`` where the result must be floating: float32, or None if a tensor has such a type."""
    for value in (a, b):
        if isinstance(value, Tensor) and dtypes.is_floating(value.data.dtype):
            return None
    return dtypes.default


def named(function: Any, name: str, doc: str) -> Any:
    """The function, with what help() shows of it."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


# -- broadcasting ---------------------------------------------------------------------------------------------------

class Broadcasting(Function):
    """An operation that works element by element, on tensors of shapes that broadcast."""

    broadcasts = True


def broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """A view of an array in another shape, read-only; ValueError where it does not broadcast to it."""
    if not isinstance(x, np.ndarray):
        return array_module(x).broadcast_to(x, shape)
    # np.broadcast_to is this and, for twice the time, what keeps subclasses of arrays
    return np.nditer(x, ["multi_index", "refs_ok", "zerosize_ok"], ["readonly"], itershape=shape, order="C").itviews[0]


class Expand(Function):
    """y = x repeated along axes of length 1 and along new ones in front;  gx = gy summed over them.

    ``aligned`` is the shape of x with axes of length 1 in places other than in front.
    """

    views = True

    def __init__(self, shape: tuple[int, ...], aligned: tuple[int, ...] | None = None) -> None:
        self.shape, self.aligned = shape, aligned

    def forward(self, x):
        self.source = x.shape
        return broadcast(x if self.aligned is None else x.reshape(self.aligned), self.shape)

    def backward(self, gy):
        gy = sum_to(gy, self.aligned or self.source)
        return gy if gy.shape == self.source else gy.reshape(self.source)


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
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, Device) or isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
            device = arg
        else:
            dtype = arg
    result = input
    if dtype is not None and dtype is not input.data.dtype and (dtype := dtypes.as_dtype(dtype)) != input.data.dtype:
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
        return kernels_for(x).concatenate((x,), 0) if x.size >= LARGE else x.copy(order="C")
