"""Arrangements in new memory: tensors joined, repeated, turned, cut along a diagonal; and split, the adjoint.

Pieces (..., n, ...) → (..., Σ n, ...), or the other way. The gradient takes gy apart again: each element gets the sum
over the places where it was put. Raises IndexError for an axis out of range, RuntimeError for lengths or types that do
not fit. As in PyTorch and NumPy.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module, joined, to_numpy
from ..engine import Function, Tensor
from .arguments import integer
from .basic import expect_tensors
from .shape import Diagonal, Dims, PutBack, along_diagonal, axis_of, distinct_axes, real_axis, sizes

__all__ = ["cat", "chunk", "concat", "concatenate", "diag", "flip", "hstack", "repeat", "repeat_interleave", "roll",
           "rot90", "split", "stack", "tensor_split", "tile", "tril", "triu", "unbind", "vstack"]


# -- join and split -------------------------------------------------------------------------------------------------

class Cat(Function):
    """y = tensors end to end along an axis;  gx of each is its piece of gy."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *xs):
        self.lengths = tuple([x.shape[self.axis] for x in xs])
        return joined(xs, self.axis)

    def backward(self, gy):
        return Split(self.lengths, self.axis)(gy)


class Split(Function):
    """y₀, y₁, ... = pieces of x along an axis;  gx = the gradients end to end."""

    views = True

    def __init__(self, lengths: tuple[int, ...], axis: int) -> None:
        self.lengths, self.axis = lengths, axis

    def forward(self, x):
        ends = list(itertools.accumulate(self.lengths))
        return tuple([x[(slice(None),) * self.axis + (slice(end - n, end),)] for n, end in zip(self.lengths, ends)])

    def backward(self, *gys):
        return Cat(self.axis)(*gys)


class Stack(Function):
    """y = tensors side by side along a new axis;  gx of each is its slice of gy."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *xs):
        return array_module(xs[0]).stack(xs, self.axis)

    def backward(self, gy):
        return Unbind(self.axis)(gy)


class Unbind(Function):
    """y₀, y₁, ... = the slices of x along an axis, without it;  gx = the gradients side by side."""

    views = True

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x):
        return tuple([x[(slice(None),) * self.axis + (i, ...)] for i in range(x.shape[self.axis])])

    def backward(self, *gys):
        return Stack(self.axis)(*gys)


def _some(name: str, tensors: Any) -> Sequence[Tensor]:
    """The tensors, after the check that they are a sequence of at least one."""
    if isinstance(tensors, Tensor) or not isinstance(tensors, Sequence):
        raise TypeError(f"{name}: expected a list or tuple of Tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError(f"{name}: expected at least one tensor, got none")
    expect_tensors(name, tensors)
    return tensors


def _integers(name: str, argument: str, values: Sequence[Any]) -> tuple[int, ...]:
    try:
        return tuple([integer(v) for v in values])
    except TypeError:
        raise TypeError(f"{name}: {argument} must be ints, not {', '.join(map(repr, values))}") from None


def _one_or_several(name: str, argument: str, value: Any) -> int | tuple[int, ...]:
    return _integers(name, argument, value) if isinstance(value, Sequence) else _integers(name, argument, (value,))[0]


def _alike(name: str, tensors: Any) -> tuple[Tensor, ...]:
    """The tensors of a sequence that is not empty, converted to their common dtype."""
    first = _some(name, tensors)[0].data.dtype
    for x in tensors:
        if x.data.dtype != first:
            dtype = dtypes.result_type(*tensors)
            return tuple([x.to(dtype) for x in tensors])
    return tuple(tensors)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors end to end along dim; all other lengths must agree, except that shape (0,) goes with any other."""
    tensors = _alike("cat", tensors)
    shapes = [x.data.shape for x in tensors]
    if (0,) in shapes and max(map(len, shapes)) > 1:
        tensors = tuple([x for x, shape in zip(tensors, shapes) if shape != (0,)]) or tensors
        shapes = [x.data.shape for x in tensors]
    shape, axis = shapes[0], real_axis("cat", dim, tensors[0])
    for i, other in enumerate(shapes):
        if other != shape and (len(other) != len(shape) or other[:axis] != shape[:axis]
                               or other[axis + 1:] != shape[axis + 1:]):
            raise RuntimeError(f"cat: tensor {i} has shape {other}, the first {shape}; they must have equally "
                               f"many axes and, except along dim {dim}, equal lengths")
    return Cat(axis)(*tensors)


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis, which is axis dim of the result."""
    tensors = _alike("stack", tensors)
    axis = axis_of("stack", dim, tensors[0].ndim + 1)
    for i, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise RuntimeError(f"stack: tensor {i} has shape {x.shape}, the first {tensors[0].shape}; they must agree")
    return Stack(axis)(*tensors)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors end to end along the second axis, or along the first if they have but one."""
    tensors = [x.reshape(1) if x.ndim == 0 else x for x in _some("hstack", tensors)]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors end to end along the first axis; those with fewer than two axes are rows."""
    return cat([x.reshape(1, -1) if x.ndim < 2 else x for x in _some("vstack", tensors)])


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive pieces along dim: of one length, the last one perhaps shorter, or of the lengths listed."""
    axis = real_axis("split", dim, tensor)
    n, size = tensor.shape[axis], _one_or_several("split", "split_size_or_sections", split_size_or_sections)
    if isinstance(size, int):
        if size < 0 or size == 0 != n:
            raise RuntimeError(f"split: size {size} must be positive (dim {dim} has length {n})")
        lengths = tuple([min(size, n - start) for start in range(0, n, size)]) if n else (0,)
    else:
        lengths = size
        if sum(lengths) != n or min(lengths, default=0) < 0:
            raise RuntimeError(f"split: sections {lengths} must not be negative and must add up to {n}, the length of "
                               f"dim {dim}")
    return Split(lengths, axis)(tensor) if lengths else ()


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of at most that many pieces along dim, all of one length except perhaps the last."""
    if chunks < 1:
        raise RuntimeError(f"chunk: chunks = {chunks} must be at least 1")
    n = input.shape[real_axis("chunk", dim, input)]
    return split(input, -(-n // chunks) if n else (0,) * chunks, dim)


def tensor_split(input: Tensor, indices_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of that many pieces along dim, the first ones perhaps longer by one, or of those between the indices."""
    axis = real_axis("tensor_split", dim, input)
    n, where = input.shape[axis], _one_or_several("tensor_split", "indices_or_sections", indices_or_sections)
    if isinstance(where, int):
        if where < 1:
            raise RuntimeError(f"tensor_split: the number of sections, {where}, must be at least 1")
        return split(input, [n // where + (i < n % where) for i in range(where)], axis)
    return tuple([input[(slice(None),) * axis + (slice(a, b),)] for a, b in itertools.pairwise((0, *where, n))])


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of all slices along dim, without that axis."""
    axis = real_axis("unbind", dim, input)
    return Unbind(axis)(input) if input.shape[axis] else ()


# -- repeat ---------------------------------------------------------------------------------------------------------

class Repeat(Function):
    """y = x laid out repeats[i] times along axis i;  gx = Σ of the copies in gy."""

    def __init__(self, repeats: tuple[int, ...]) -> None:
        self.repeats = repeats

    def forward(self, x):
        self.source = x.shape
        return array_module(x).tile(x, self.repeats)

    def backward(self, gy):
        lengths = (1,) * (len(self.repeats) - len(self.source)) + self.source
        pairs = [n for pair in zip(self.repeats, lengths) for n in pair]
        return gy.reshape(pairs).sum(tuple(range(0, len(pairs), 2))).reshape(self.source) if pairs else gy


def repeat(input: Tensor, repeats: Dims) -> Tensor:
    """Copies of input side by side: repeats[i] of them along axis i, counted from the right."""
    repeats = _integers("repeat", "repeats", sizes(repeats))
    if len(repeats) < input.ndim or min(repeats, default=0) < 0:
        raise RuntimeError(f"repeat: repeats {repeats} must have a number, not negative, for each axis of shape "
                           f"{input.shape}")
    return Repeat(repeats)(input)


def tile(input: Tensor, dims: Dims) -> Tensor:
    """repeat that takes 1 for the axes in front that dims does not name."""
    dims = sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(dims)) + dims)


def repeat_interleave(input: Tensor, repeats: int | Tensor, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:
    """Every slice along dim repeated in place, ``repeats`` times or as often as its own number in repeats says.

    Without dim the elements of the flattened tensor are repeated. output_size, if given, must be the length that comes
    out. PyTorch's form with repeats alone, which gives indices, is arange(len(repeats)).repeat_interleave(repeats).
    """
    x = input.flatten() if dim is None or input.ndim == 0 else input
    axis = 0 if dim is None else axis_of("repeat_interleave", dim, x.ndim)
    n = x.shape[axis]
    counts = to_numpy(repeats.data) if isinstance(repeats, Tensor) else np.asarray(repeats)
    if counts.dtype.kind not in "iu" or counts.ndim > 1 or counts.size not in (1, n) or counts.min(initial=0) < 0:
        raise RuntimeError(f"repeat_interleave: repeats {repeats!r} must be one whole number or one for each of the "
                           f"{n} slices along dim {dim}, none negative")
    index = np.repeat(np.arange(n), counts)
    if output_size not in (None, len(index)):
        raise RuntimeError(f"repeat_interleave: output_size = {output_size}, but the repeats add up to {len(index)}")
    return x.index_select(axis, Tensor(index).to(device=x.device))


# -- order ----------------------------------------------------------------------------------------------------------

class Flip(Function):
    """y = x with axes reversed;  gx = gy with them reversed."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x):
        return array_module(x).flip(x, self.axes).copy()

    def backward(self, gy):
        return Flip(self.axes)(gy)


class Roll(Function):
    """y = x with its elements moved on by shifts, those that fall off coming in again;  gx = gy moved back."""

    def __init__(self, shifts: tuple[int, ...], axes: tuple[int, ...] | None) -> None:
        self.shifts, self.axes = shifts, axes

    def forward(self, x):
        return array_module(x).roll(x, self.shifts, self.axes)

    def backward(self, gy):
        return Roll(tuple([-s for s in self.shifts]), self.axes)(gy)


def flip(input: Tensor, dims: Dims) -> Tensor:
    """A copy with the order of the elements along dims reversed."""
    axes = distinct_axes("flip", sizes(dims), max(input.ndim, 1))  # 0-d counts as 1-d
    return Flip(axes if input.ndim else ())(input)


def roll(input: Tensor, shifts: Dims, dims: Dims | None = None) -> Tensor:
    """y[i + shifts] = x[i] along dims, counted on from the last to the first; without dims, in the flattened order."""
    shifts, dims = _integers("roll", "shifts", sizes(shifts)), () if dims is None else sizes(dims)
    if len(shifts) != (len(dims) or 1):
        raise RuntimeError(f"roll: shifts {shifts} and dims {dims} must be equally long")
    return Roll(shifts, tuple([real_axis("roll", d, input) for d in dims]) or None)(input)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Rotated k times by 90° in the plane of two axes, from the first towards the second."""
    axes = distinct_axes("rot90", dims, input.ndim)
    if len(axes) != 2:
        raise RuntimeError(f"rot90: dims {dims} must name two axes")
    if k % 2 == 0:
        return flip(input, axes) if k % 4 else input.clone()
    return flip(input, axes[1] if k % 4 == 1 else axes[0]).transpose(*axes)


# -- diagonals ------------------------------------------------------------------------------------------------------

class Triangle(Function):
    """y = x with zeros above (tril) or below (triu) a diagonal;  gx = gy with the same zeros."""

    def __init__(self, half: str, diagonal: int) -> None:
        self.half, self.diagonal = half, diagonal

    def forward(self, x):
        return getattr(array_module(x), self.half)(x, self.diagonal)

    def backward(self, gy):
        return Triangle(self.half, self.diagonal)(gy)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrices of the last two axes with zeros above a diagonal; 0 is the main one, 1 the one above it."""
    return _triangle("tril", input, diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrices of the last two axes with zeros below a diagonal; 0 is the main one, 1 the one above it."""
    return _triangle("triu", input, diagonal)


def _triangle(half: str, input: Tensor, diagonal: int) -> Tensor:
    if input.ndim < 2:
        raise RuntimeError(f"{half}: expected at least 2 axes, got shape {input.shape}")
    return Triangle(half, diagonal)(input)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """y[i, i + diagonal] = input[i], else 0, of a vector; of a matrix a copy of that diagonal."""
    if input.ndim == 2:
        return input.diagonal(diagonal).clone()
    if input.ndim != 1:
        raise RuntimeError(f"diag: expected 1 or 2 axes, got shape {input.shape}")
    n = input.numel() + abs(diagonal)
    return PutBack(Diagonal, along_diagonal(diagonal, 0, 1), False, (n, n))(input)
