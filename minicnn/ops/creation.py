"""New tensors: from data, filled with a value, counted up, or drawn at random.

Numbers are drawn in NumPy and then moved to the device, so that a seed gives the same ones on every device.

A size → a tensor of that shape. Raises ValueError for negative lengths, TypeError for what is no number or dtype. As in
PyTorch and NumPy.
"""

import math
import operator
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import CPU, Device, Generator, array_module, default_generator, module_on, move
from ..engine import Tensor
from .basic import Number
from .shape import sizes, variadic

__all__ = ["arange", "empty", "empty_like", "eye", "from_dlpack", "from_numpy", "full", "full_like", "linspace",
           "new_empty", "new_full", "new_ones", "new_tensor", "new_zeros", "ones", "ones_like", "rand", "rand_like",
           "randint", "randn", "randn_like", "randperm", "tensor", "zeros", "zeros_like"]

Size = tuple[int, ...] | list[int]
DeviceLike = Device | str | None


def _made(array: Any, device: DeviceLike, requires_grad: bool) -> Tensor:
    return Tensor(array if device is None else move(array, device), requires_grad)


# -- from data ------------------------------------------------------------------------------------------------------

@np.errstate(over="ignore")
def tensor(data: Any, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of data, in its shape: numbers, nested lists of them, an array, or a tensor (detached).

    Python floats become float32, ints int64 and bools bool; arrays and tensors keep their dtype. Unlike PyTorch's it
    takes dtype, device and requires_grad by position, too.
    """
    dtype = None if dtype is None else dtypes.as_dtype(dtype)
    array = Tensor(data).data if hasattr(data, "__array__") else _nested(data, dtype)
    dtype = dtype or dtypes.as_dtype(array.dtype)
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    return _made(array_module(array).array(array, dtype=native, order="C"), device, requires_grad)


def _nested(data: Any, dtype: np.dtype | None) -> np.ndarray:
    """The array of a number or nested lists, to be converted to dtype.

    Without dtype Python floats become float32, and anything with a dtype keeps it.
    """
    try:
        array = np.array(data)
    except ValueError:
        raise ValueError("tensor: nested lists have different lengths; all of a level must be equally long") from None
    if not dtypes.is_supported(array.dtype):
        values = np.array(data, object).ravel()
        for value in values:
            if not isinstance(value, (int, float)):
                raise TypeError(f"tensor: data holds {value!r} ({type(value).__name__}), which is not a number of a "
                                "supported type")
        if dtype is None or not dtypes.is_floating(dtype):
            raise ValueError(f"tensor: {max(values, key=abs)} does not fit into int64; make it a float")
        array = values.reshape(array.shape).astype(dtypes.float64)
    if dtype is None and array.dtype == np.float64:
        first = data
        while isinstance(first, (list, tuple)) and first:
            first = first[0]
        return array if hasattr(first, "dtype") else array.astype(dtypes.default)
    if dtype is not None and dtype.kind in "iu":
        limits = np.iinfo(dtype)  # as in PyTorch, a negative number is counted from the end of an unsigned type
        fits = (array >= (-limits.max if dtype.kind == "u" else limits.min)) & (array <= limits.max)
        if not fits.all():
            raise RuntimeError(f"tensor: {array[~fits].flat[0]} does not fit into {dtype}")
    return array


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares the elements, in memory, of a NumPy array: a write to one is seen in the other."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(ndarray).__name__}; use minicnn.tensor(...)")
    dtypes.as_dtype(ndarray.dtype)
    if not ndarray.dtype.isnative:
        raise TypeError(f"from_numpy: the byte order of {ndarray.dtype.str} is not this machine's; use tensor(...)")
    return Tensor(ndarray)


def from_dlpack(ext_tensor: Any, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of an array of another library, on the CPU, handed over by DLPack.

    copy=True copies always, copy=False never: it raises where the memory cannot be shared.
    """
    array = np.from_dlpack(ext_tensor, copy=copy)
    dtypes.as_dtype(array.dtype)
    return _made(array, device, False)


# -- filled with a value, where they are to be ----------------------------------------------------------------------

def _new(make: str, size: Any, dtype: Any, device: DeviceLike, requires_grad: bool) -> Tensor:
    with module_on(device or CPU) as xp:
        return Tensor(getattr(xp, make)(sizes(size), dtypes.as_dtype(dtype or dtypes.default)), requires_grad)


@variadic(0)
def zeros(size: Size, *, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)``, ``zeros((2, 3))`` or ``zeros(size=(2, 3))``, as in PyTorch."""
    return _new("zeros", size, dtype, device, requires_grad)


@variadic(0)
def ones(size: Size, *, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones: ``ones(2, 3)``, ``ones((2, 3))`` or ``ones(size=(2, 3))``, as in PyTorch."""
    return _new("ones", size, dtype, device, requires_grad)


@variadic(0)
def empty(size: Size, *, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are not set to anything yet, of a size given as in PyTorch."""
    return _new("empty", size, dtype, device, requires_grad)


def full(size: Size, fill_value: Number, *, dtype: Any = None, device: DeviceLike = None,
         requires_grad: bool = False) -> Tensor:
    """y[i] = fill_value for every element i; the dtype is that of the number (bool, int64 or float32)."""
    fill_value = _number(fill_value)
    dtype = dtypes.of_scalar(fill_value) if dtype is None else dtypes.as_dtype(dtype)
    with module_on(device or CPU) as xp:
        return Tensor(_filled(xp, size, fill_value, dtype), requires_grad)


def _filled(xp: Any, size: Size, value: Number, dtype: np.dtype) -> Any:
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise ValueError(f"full: {value} does not fit into {dtype}")
    return xp.full(size, value, dtype)


def _like(input: Tensor, value: Number | None, dtype: Any, device: DeviceLike, requires_grad: bool) -> Tensor:
    """A tensor of the shape, dtype and device of input, with every element value (None: not set)."""
    xp, dtype = array_module(input.data), input.dtype if dtype is None else dtypes.as_dtype(dtype)
    array = xp.empty(input.shape, dtype) if value is None else _filled(xp, input.shape, value, dtype)
    return _made(array, device, requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, dtype and device of input."""
    return _like(input, 0, dtype, device, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, dtype and device of input."""
    return _like(input, 1, dtype, device, requires_grad)


def full_like(input: Tensor, fill_value: Number, *, dtype: Any = None, device: DeviceLike = None,
              requires_grad: bool = False) -> Tensor:
    """fill_value in the shape, dtype and device of input."""
    return _like(input, fill_value, dtype, device, requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """Elements not set to anything yet, in the shape, dtype and device of input."""
    return _like(input, None, dtype, device, requires_grad)


def new_tensor(input: Tensor, data: Any, *, dtype: Any = None, device: DeviceLike = None,
               requires_grad: bool = False) -> Tensor:
    """``tensor(data)`` with the dtype and device of input."""
    return tensor(data, dtype or input.dtype, device or input.device, requires_grad)


@variadic(1)
def new_zeros(input: Tensor, size: Size, *, dtype: Any = None, device: DeviceLike = None,
              requires_grad: bool = False) -> Tensor:
    """Zeros of a shape, with the dtype and device of input."""
    return zeros(sizes(size), dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


@variadic(1)
def new_ones(input: Tensor, size: Size, *, dtype: Any = None, device: DeviceLike = None,
             requires_grad: bool = False) -> Tensor:
    """Ones of a shape, with the dtype and device of input."""
    return ones(sizes(size), dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


@variadic(1)
def new_empty(input: Tensor, size: Size, *, dtype: Any = None, device: DeviceLike = None,
              requires_grad: bool = False) -> Tensor:
    """Elements not set to anything yet, of a shape, with the dtype and device of input."""
    return empty(sizes(size), dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def new_full(input: Tensor, size: Size, fill_value: Number, *, dtype: Any = None, device: DeviceLike = None,
             requires_grad: bool = False) -> Tensor:
    """fill_value in a shape, with the dtype and device of input."""
    return full(size, fill_value, dtype=dtype or input.dtype, device=device or input.device,
                requires_grad=requires_grad)


# -- counted up -----------------------------------------------------------------------------------------------------

def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def arange(start: Number | None = None, end: Number | None = None, step: Number = 1, *, dtype: Any = None,
           device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """start, start + step, ... up to but without end; ``arange(end)`` and ``arange(end=end)`` start at 0.

    Without start, end stands first, as in PyTorch. Of ints it is int64, of floats float32; for a dtype of ints start
    and step lose their fractions, for int64 end, too. Raises if step is 0 or leads away from end.
    """
    start, end, step = map(_number, (start, end, step))
    start, end = (0, start) if end is None else (0 if start is None else start, end)
    if end is None:
        raise TypeError("arange: give end, the number to stop before")
    if not all(map(math.isfinite, (start, end, step))) or step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: from {start} to {end} in steps of {step} is impossible; step must not be 0 and "
                         "must lead to end")
    if dtype is None:
        whole = all(dtypes.of_scalar(v) != dtypes.default for v in (start, end, step))
        dtype = dtypes.int64 if whole else dtypes.default
    dtype = _not_bool("arange", dtype)
    if dtype == dtypes.int64:
        start, end, step = int(start), int(end), int(step)
    count = math.ceil((end - start) / step)
    if not dtypes.is_floating(dtype):
        start, step = int(start), int(step)
    # in double precision and by multiplication, so that no error adds up
    return _made((start + step * np.arange(count)).astype(dtype), device, requires_grad)


def _not_bool(name: str, dtype: Any) -> np.dtype:
    dtype = dtypes.as_dtype(dtype)
    if dtype == dtypes.bool_:
        raise RuntimeError(f"{name}: dtype bool has no steps; use an integer or floating one")
    return dtype


def linspace(start: Number, end: Number, steps: int, *, dtype: Any = None, device: DeviceLike = None,
             requires_grad: bool = False) -> Tensor:
    """y[i] = start + i·(end − start)/(steps − 1): steps evenly spaced values from start to end, both included.

    For a dtype of ints start and end lose their fractions first.
    """
    if steps < 0:
        raise ValueError(f"linspace: steps = {steps} must not be negative")
    dtype = _not_bool("linspace", dtype or dtypes.default)
    start, end = [_number(v) if dtypes.is_floating(dtype) else int(v) for v in (start, end)]
    return _made(np.linspace(start, end, steps).astype(dtype), device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: DeviceLike = None,
        requires_grad: bool = False) -> Tensor:
    """y[i, j] = 1 where i = j, else 0: the (n, m) matrix with ones on the diagonal; m is n by default."""
    return _made(np.eye(n, m, dtype=dtypes.as_dtype(dtype or dtypes.default)), device, requires_grad)


# -- random ---------------------------------------------------------------------------------------------------------

def _drawn(name: str, method: str, size: tuple, generator: Generator | None, dtype: Any) -> np.ndarray:
    """Samples of a method of NumPy's generator; types narrower than float32 are rounded from float32."""
    dtype = dtypes.as_dtype(dtype or dtypes.default)
    if not dtypes.is_floating(dtype):
        raise RuntimeError(f"{name}: dtype {dtype} must be a floating point type; use randint for integers")
    draw = getattr((generator or default_generator).numpy, method)
    return draw(size, dtypes.float64 if dtype == dtypes.float64 else dtypes.float32).astype(dtype, copy=False)


@variadic(0)
def rand(size: Size, *, generator: Generator | None = None, dtype: Any = None, device: DeviceLike = None,
         requires_grad: bool = False) -> Tensor:
    """Samples of the uniform distribution, 0 ≤ y < 1, in a size given as in PyTorch."""
    return _made(_drawn("rand", "random", sizes(size), generator, dtype), device, requires_grad)


@variadic(0)
def randn(size: Size, *, generator: Generator | None = None, dtype: Any = None, device: DeviceLike = None,
          requires_grad: bool = False) -> Tensor:
    """Samples of the normal distribution, of density e^(−y²/2)/√(2π), in a size given as in PyTorch."""
    return _made(_drawn("randn", "standard_normal", sizes(size), generator, dtype), device, requires_grad)


def rand_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: DeviceLike = None,
              requires_grad: bool = False) -> Tensor:
    """rand in the shape, dtype and device of input."""
    return rand(input.shape, generator=generator, dtype=dtype or input.dtype, device=device or input.device,
                requires_grad=requires_grad)


def randn_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: DeviceLike = None,
               requires_grad: bool = False) -> Tensor:
    """randn in the shape, dtype and device of input."""
    return randn(input.shape, generator=generator, dtype=dtype or input.dtype, device=device or input.device,
                 requires_grad=requires_grad)


def randint(low: Any = 0, high: Any = None, size: Size | None = None, *, generator: Generator | None = None,
            dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """Whole numbers, low … high − 1 equally likely: ``randint(high, size)`` or ``randint(low, high, size)``.

    The forms, without low or with it, are PyTorch's. The dtype is int64 unless given.
    """
    if size is None:  # randint(high, size)
        low, high, size = 0, low, high
    elif high is None:  # randint(high, size=...)
        low, high = 0, low
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"randint: size = {size!r} must be a tuple, as in randint(10, (2, 3)) or randint(5, 9, (2, 3))")
    low, high = operator.index(low), operator.index(high)
    if low >= high:
        raise RuntimeError(f"randint: low = {low} must be less than high = {high}")
    values = (generator or default_generator).numpy.integers(low, high, tuple(size))
    return _made(values.astype(dtypes.as_dtype(dtype or dtypes.int64), copy=False), device, requires_grad)


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: DeviceLike = None,
             requires_grad: bool = False) -> Tensor:
    """The numbers 0 … n − 1 in random order."""
    if n < 0:
        raise RuntimeError(f"randperm: n = {n} must not be negative")
    values = (generator or default_generator).numpy.permutation(operator.index(n))
    return _made(values.astype(dtypes.as_dtype(dtype or dtypes.int64), copy=False), device, requires_grad)
