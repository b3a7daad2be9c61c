"""Other ways to see the same memory: reshape, expand, permute, and parts of a tensor. All return views if they can.

The gradient puts gy back where its elements were seen, (...) → (...), and adds up what was seen more than once. Raises
IndexError for an axis out of range, RuntimeError for lengths that do not fit. As in PyTorch and NumPy.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import array_module, kernels_for
from ..engine import Function, Tensor
from .arguments import integer
from .basic import Expand, broadcast_shapes, expect_tensors

__all__ = ["as_strided", "broadcast_tensors", "broadcast_to", "diagonal", "expand", "expand_as", "flatten", "meshgrid",
           "moveaxis", "movedim", "narrow", "permute", "ravel", "reshape", "select", "squeeze", "swapaxes", "t",
           "transpose", "unflatten", "unfold", "unsqueeze", "view"]

Dims = int | Sequence[int]


# -- arguments ------------------------------------------------------------------------------------------------------

def sizes(given: Any) -> tuple:
    """What is given as (2, 3), [2, 3] or 2, or within a tuple, as f(2, 3) and f((2, 3)) find it in *args."""
    if isinstance(given, (tuple, list)):
        return tuple(given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given)
    return (given,)


def variadic(place: int) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """A decorator for functions whose argument at this place is a shape: lets it be given as separate numbers too."""
    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__code__.co_varnames[place]

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Tensor:
            if name in named or len(arguments) <= place:
                return function(*arguments, **named)
            return function(*arguments[:place], arguments[place:], **named)

        return call

    return decorate


def dim_of(name: str, dim: Any) -> int:
    """The Python int that dim is, also as an integer of NumPy or a 0-d tensor of one; a bool is none."""
    if type(dim) is int:
        return dim
    if isinstance(dim, Tensor) and dim.data.dtype.kind in "iu" and not dim.ndim or isinstance(dim, np.integer):
        return int(dim)
    raise TypeError(f"{name}: dim must be an int, not {dim!r}")


def axis_of(name: str, dim: int, ndim: int) -> int:
    """dim counted from 0; a 0-d tensor is taken to have one axis, as in PyTorch."""
    if type(dim) is int and 0 <= dim < ndim:  # as most are
        return dim
    dim = dim_of(name, dim)
    axes = max(ndim, 1)
    if not -axes <= dim < axes:
        raise IndexError(f"{name}: dim {dim} is out of range, must be in {-axes} … {axes - 1}")
    return dim % ndim if ndim else 0


def real_axis(name: str, dim: int, input: Tensor) -> int:
    """axis_of, for what a 0-d tensor does not allow."""
    if input.ndim == 0:
        raise IndexError(f"{name}: dim {dim} of a 0-d tensor, which has no axes")
    return axis_of(name, dim, input.ndim)


def distinct_axes(name: str, dims: Dims, ndim: int) -> tuple[int, ...]:
    """The axes of dims, counted from 0; an axis named twice raises."""
    axes = tuple([axis_of(name, d, ndim) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))])
    if len(set(axes)) < len(axes):
        raise RuntimeError(f"{name}: dims {dims} name an axis twice")
    return axes


# -- reshape --------------------------------------------------------------------------------------------------------

class Reshape(Function):
    """y = x in another shape;  gx = gy in the shape of x."""

    views = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x):
        self.source = x.shape
        return x.reshape(self.shape)

    def backward(self, gy):
        return gy.reshape(self.source)


def reshape(input: Tensor, shape: Dims) -> Tensor:
    """The same elements in another shape; one length may be -1. A view where memory allows, otherwise a copy."""
    shape = sizes(shape)
    try:
        if shape and min(shape) < -1:  # NumPy would take any negative length for -1
            raise ValueError
        return Reshape(shape)(input)
    except ValueError:
        raise RuntimeError(f"reshape: shape {shape} is invalid for a tensor of shape {input.shape} "
                           f"({input.numel()} elements)") from None


def view(input: Tensor, size: Dims) -> Tensor:
    """reshape that never copies; raises where the order in memory does not allow that."""
    result = reshape(input, size)
    if input.data.size and not array_module(input.data).may_share_memory(input.data, result.data):
        raise RuntimeError(f"view: a tensor of shape {input.shape} whose memory is not in order cannot be seen as "
                           f"shape {result.shape} without a copy; use reshape(...)")
    return result


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes start_dim … end_dim as one."""
    first, last = axis_of("flatten", start_dim, input.ndim), axis_of("flatten", end_dim, input.ndim)
    if first > last:
        raise RuntimeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} (shape {input.shape})")
    shape = input.shape
    return input.reshape(shape[:first] + (math.prod(shape[first:last + 1]),) + shape[last + 1:])


def ravel(input: Tensor) -> Tensor:
    """All elements along one axis."""
    return flatten(input)


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis dim split into axes of the given sizes, one of which may be -1."""
    axis, new, length = real_axis("unflatten", dim, input), tuple(sizes), input.shape[dim]
    known = math.prod([n for n in new if n != -1])
    fits = known and length % known == 0 if -1 in new else known == length
    if not new or new.count(-1) > 1 or not fits:
        raise RuntimeError(f"unflatten: sizes {new} do not multiply up to the length of dim {dim}, which is {length}")
    new = tuple([length // known if n == -1 else n for n in new])
    return input.reshape(input.shape[:axis] + new + input.shape[axis + 1:])


def squeeze(input: Tensor, dim: Dims | None = None) -> Tensor:
    """Without the axes of length 1, or without those of them that dim names."""
    named = range(input.ndim) if dim is None else distinct_axes("squeeze", dim, input.ndim)
    return input.reshape(tuple([n for i, n in enumerate(input.shape) if n != 1 or i not in named]))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of length 1, which is axis dim of the result."""
    axis = axis_of("unsqueeze", dim, input.ndim + 1)
    return input.reshape(input.shape[:axis] + (1,) + input.shape[axis:])


# -- expand ---------------------------------------------------------------------------------------------------------

def expand(input: Tensor, size: Dims) -> Tensor:
    """A view with axes of length 1 repeated to ``size``; -1 keeps a length."""
    shape = sizes(size)
    if -1 in shape:
        offset = len(shape) - input.ndim
        shape = tuple([input.shape[i - offset] if n == -1 and i >= offset else n for i, n in enumerate(shape)])
    try:
        if shape and min(shape) < 0:  # NumPy would take any length for a negative one
            raise ValueError
        return Expand(shape)(input)
    except ValueError:
        raise RuntimeError(f"expand: a tensor of shape {input.shape} cannot be expanded to {shape}: each axis must "
                           "have length 1 or the new length") from None


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """A view of input, expanded to the shape of other."""
    return expand(input, other.shape)


def broadcast_to(input: Tensor, size: tuple[int, ...]) -> Tensor:
    """A view of input, broadcast to the shape size."""
    return expand(input, size)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Views of all tensors in their common shape."""
    expect_tensors("broadcast_tensors", tensors)
    shape = broadcast_shapes("broadcast_tensors", *[x.shape for x in tensors])
    return tuple([expand(x, shape) for x in tensors])


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid: result i repeats the 1-d tensor i along axis i; "xy" exchanges the first two axes."""
    tensors = sizes(tensors)
    expect_tensors("meshgrid", tensors)
    if not tensors:
        raise RuntimeError("meshgrid: expected at least one tensor")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: indexing {indexing!r} must be 'ij' or 'xy'")
    if any(x.ndim > 1 for x in tensors) or len({x.dtype for x in tensors}) > 1:
        raise RuntimeError("meshgrid: expected 0-d or 1-d tensors of one type, got "
                           f"{', '.join([f'{x.dtype} {x.shape}' for x in tensors])}")
    shape = tuple([x.numel() for x in tensors])
    grids = [x.reshape([-1 if i == j else 1 for j in range(len(tensors))]).expand(shape) for i, x in enumerate(tensors)]
    return tuple([x.transpose(0, 1) if indexing == "xy" and len(tensors) > 1 else x for x in grids])


# -- permute --------------------------------------------------------------------------------------------------------

class Permute(Function):
    """y = x with axes[i] as axis i;  gx = gy with the axes put back."""

    views = True

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x):
        return x.transpose(self.axes)

    def backward(self, gy):
        return Permute(tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__)))(gy)


def permute(input: Tensor, dims: Dims) -> Tensor:
    """A view with the axes in another order: axis i of the result is axis dims[i] of input."""
    dims, ndim = sizes(dims), input.data.ndim
    axes = tuple([axis_of("permute", d, ndim) for d in dims])
    if len(axes) != ndim or len(set(axes)) < ndim:
        raise RuntimeError(f"permute: dims {dims} must name each of the {ndim} axes once")
    return Permute(axes)(input)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two axes exchanged."""
    i, j = axis_of("transpose", dim0, input.ndim), axis_of("transpose", dim1, input.ndim)
    axes = list(range(input.ndim))
    if axes:
        axes[i], axes[j] = j, i
    return Permute(tuple(axes))(input)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """transpose, by the names that NumPy has for it and its arguments."""
    return transpose(input, axis0, axis1)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a tensor with fewer axes as it is."""
    if input.ndim > 2:
        raise RuntimeError(f"t: expected at most 2 axes, got shape {input.shape}; use permute or .mT")
    return transpose(input, 0, -1)


def movedim(input: Tensor, source: Dims, destination: Dims) -> Tensor:
    """A view with axis source[i] moved to place destination[i], and the other axes in their order."""
    here, there = distinct_axes("movedim", source, input.ndim), distinct_axes("movedim", destination, input.ndim)
    if len(here) != len(there):
        raise RuntimeError(f"movedim: source {source} and destination {destination} must be equally long")
    axes = [i for i in range(input.ndim) if i not in here]
    for place, axis in sorted(zip(there, here)) if input.ndim else ():
        axes.insert(place, axis)
    return permute(input, axes)


moveaxis = movedim


# -- parts of a tensor ----------------------------------------------------------------------------------------------

class Part(Function):
    """y = a view of x that pick chooses;  gx = gy added at its places to zeros.

    ``overlaps`` says that pick may choose a place more than once.
    """

    views = True

    def __init__(self, pick: Callable[[Any], Any], overlaps: bool = False) -> None:
        self.pick, self.overlaps = pick, overlaps

    def forward(self, x):
        self.shape = x.shape
        return self.pick(x)

    def backward(self, gy):
        return PutBack(type(self), self.pick, self.overlaps, self.shape)(gy)


class PutBack(Function):
    """The adjoint of a Part: y = x added at the places of the part to zeros of a shape;  gx = that part of gy."""

    def __init__(self, part: type[Part], pick: Callable[[Any], Any], overlaps: bool, shape: tuple[int, ...]) -> None:
        self.part, self.pick, self.overlaps, self.shape = part, pick, overlaps, shape

    def forward(self, x):
        xp = array_module(x)
        y = xp.zeros(self.shape, x.dtype)
        if self.overlaps:
            places = self.pick(xp.arange(y.size).reshape(self.shape))
            kernels_for(x).index_add(y.reshape(-1, 1), places.reshape(-1), x.reshape(-1, 1))
        else:
            self.pick(y)[...] = x
        return y

    def backward(self, gy):
        return self.part(self.pick, self.overlaps)(gy)


class Diagonal(Part):
    """y[..., k] = x[..., k, k + offset] over two axes, or x[..., k − offset, k] for a negative offset."""


class Unfold(Part):
    """y[..., i, ..., k] = x[..., i·step + k, ...]: windows along an axis, their elements along a new last one."""


class AsStrided(Part):
    """y[i, j, ...] = x.flat[offset + i·stride₀ + j·stride₁ + ...]."""


def _strided(x: Any, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """The array that starts where x does, with a shape and strides (in bytes)."""
    return array_module(x).lib.stride_tricks.as_strided(x, shape, strides)


def along_diagonal(offset: int, i: int, j: int) -> Callable[[Any], Any]:
    """What takes the diagonal over axes i and j of an array."""
    def pick(x: Any) -> Any:
        others = [axis for axis in range(x.ndim) if axis not in (i, j)]
        x = x.transpose(*others, i, j)[..., max(-offset, 0):, max(offset, 0):]
        return _strided(x, x.shape[:-2] + (min(x.shape[-2:]),), x.strides[:-2] + (x.strides[-2] + x.strides[-1],))

    return pick


def _windows(axis: int, size: int, step: int) -> Callable[[Any], Any]:
    """What takes the windows along an axis of an array, their elements along a new last axis."""
    def pick(x: Any) -> Any:
        shape, strides = list(x.shape), list(x.strides)
        shape[axis], strides[axis] = (shape[axis] - size) // step + 1, strides[axis] * step
        return _strided(x, (*shape, size), (*strides, x.strides[axis]))

    return pick


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """A view of the slice number index along dim, without that axis."""
    axis = real_axis("select", dim, input)
    if not -input.shape[axis] <= index < input.shape[axis]:
        raise IndexError(f"select: index {index} is out of range for dim {dim} of a tensor of shape {input.shape}")
    return input[(slice(None),) * axis + (int(index),)]


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """A view of the elements start … start + length − 1 along dim; a negative start counts from the end."""
    axis = real_axis("narrow", dim, input)
    n = input.shape[axis]
    try:
        first = integer(start)
    except TypeError:
        first = None
    if first is None or isinstance(start, Tensor) and (start.ndim or start.dtype == bool):
        raise TypeError(f"narrow: start must be an int, or a 0-d tensor of one, not {start!r}")
    first = first + n if first < 0 else first
    if not (0 <= length and 0 <= first and first + length <= n):
        raise RuntimeError(f"narrow: start {start} and length {length} do not fit dim {dim}, which has length {n}")
    return input[(slice(None),) * axis + (slice(first, first + length),)]


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of the diagonal over dim1 and dim2, as the last axis; offset > 0 is above the main one, < 0 below."""
    i, j = real_axis("diagonal", dim1, input), real_axis("diagonal", dim2, input)
    if i == j:
        raise RuntimeError(f"diagonal: dim1 {dim1} and dim2 {dim2} are the same axis of shape {input.shape}")
    return Diagonal(along_diagonal(int(offset), i, j))(input)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of length size along dimension, step apart; the windows' elements form a new last axis."""
    axis = axis_of("unfold", dimension, input.ndim)
    x = input.reshape(1) if input.ndim == 0 else input
    if not 0 <= size <= x.shape[axis] or step < 1:
        raise RuntimeError(f"unfold: size {size} and step {step} do not fit dim {dimension}, which has length "
                           f"{x.shape[axis]}; size must not be longer and step at least 1")
    windows = Unfold(_windows(axis, size, step), overlaps=step < size)(x)
    return windows.reshape(size) if input.ndim == 0 else windows


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int = 0) -> Tensor:
    """A view with the given shape and strides, counted in elements from the first one of input.

    storage_offset, too, counts from there. Unlike PyTorch, input must be in C order, and memory outside it (of a tensor
    that it is a view of) is out of reach.
    """
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride):
        raise RuntimeError(f"as_strided: size {size} and stride {stride} must be equally long")
    if not input.data.flags.c_contiguous:
        raise RuntimeError(f"as_strided: input (shape {input.shape}) is not in C order; call contiguous() first")
    given = f"as_strided: size {size}, stride {stride} and storage_offset {storage_offset}"
    if min((*size, *stride, storage_offset), default=0) < 0:
        raise RuntimeError(f"{given} must not be negative")
    last = storage_offset + sum([(n - 1) * s for n, s in zip(size, stride)])
    if math.prod(size) and last >= input.numel():
        raise RuntimeError(f"{given} reach element {last} of a tensor with {input.numel()}")

    def pick(x: Any) -> Any:
        return _strided(x.reshape(-1)[storage_offset:], size, tuple([s * x.itemsize for s in stride]))

    return AsStrided(pick, overlaps=True)(input)
