"""Elements chosen by arrays of indices or by masks: gather, scatter and their relatives.

Reading at indices and adding at indices are each other's adjoint: y = x[i] has gx = 0 with gy added at i, and y = x
with v added at i has gv = gy[i]. So ``Index`` and ``IndexAdd`` close under differentiation. What an index means is a
small object beside them: ``Axes`` (arrays that index whole axes, as in x[i]) or ``Lanes`` (gather's, one axis only).

What is read has the shape of its index, (...) → (...). Raises IndexError for an index or axis out of range and for an
index of a type that is none, RuntimeError for shapes and masks that do not fit. As in PyTorch and NumPy.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..backend import array_module, kernels_for
from ..engine import Function, Tensor
from .basic import Number, as_operand, broadcast_shapes, check_factor, expect_operands
from .shape import axis_of, real_axis

__all__ = ["gather", "index_add", "index_put", "index_select", "masked_fill", "masked_select", "scatter", "scatter_add",
           "take", "take_along_dim"]

# -- what an index means --------------------------------------------------------------------------------------------

class Axes(NamedTuple):
    """Integer arrays, broadcast together, that index those axes where pattern is True; other axes are taken whole."""

    pattern: tuple[bool, ...]

    def key(self, index: Sequence[Any]) -> tuple:
        """The NumPy index."""
        arrays = iter(index)
        return tuple([next(arrays) if indexed else slice(None) for indexed in self.pattern])

    def read(self, x: Any, *index: Any) -> Any:
        """The elements of x at the index."""
        return x[self.key(index)]

    def rows(self, shape: tuple[int, ...], *index: Any) -> tuple[Any, int]:
        """What read gives, as rows of x: their numbers in the order of the result, and the length of a row."""
        xp, used = array_module(index[0]), len(self.pattern)
        while not self.pattern[used - 1]:
            used -= 1
        shape, length = shape[:used], math.prod(shape[used:])
        strides = _strides(shape)
        axes = [i for i, indexed in enumerate(self.pattern) if indexed]
        others = [i for i in range(len(shape)) if i not in axes]
        joined = sum(a * strides[i] for i, a in zip(axes, index))
        # NumPy puts the axes of the arrays where the indexed axes are, or in front if those are not neighbours
        front = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
        result = joined.reshape(joined.shape + (1,) * (len(others) - front))
        for k, i in enumerate(others):
            behind = len(others) - k - 1 + (joined.ndim if k < front else 0)
            result = result + (xp.arange(shape[i]) * strides[i]).reshape((-1,) + (1,) * behind)
        return result.reshape(-1), length


class Lanes(NamedTuple):
    """An integer array with as many axes as x that indexes one axis, each element in its own lane along that axis."""

    axis: int

    def read(self, x: Any, index: Any) -> Any:
        """The elements of x at the index."""
        return x.reshape(-1)[self.places(x.shape, index)]

    def rows(self, shape: tuple[int, ...], index: Any) -> tuple[Any, int]:
        """As of Axes: each element is a row by itself."""
        return self.places(shape, index).reshape(-1), 1

    def places(self, shape: tuple[int, ...], index: Any) -> Any:
        """Where the elements that read gives lie in the flattened x."""
        xp = array_module(index)
        strides = _strides(shape)
        result = index * strides[self.axis]
        for i, n in enumerate(index.shape):
            if i != self.axis:
                result = result + (xp.arange(n) * strides[i]).reshape((-1,) + (1,) * (len(shape) - i - 1))
        return result


def _strides(shape: tuple[int, ...]) -> list[int]:
    """How many elements apart neighbours along each axis lie, in C order."""
    strides = [1]
    for n in shape[:0:-1]:
        strides.insert(0, strides[0] * n)
    return strides


# -- operations -----------------------------------------------------------------------------------------------------

class Index(Function):
    """y = x at an index;  gx = zeros with gy added at the index."""

    def __init__(self, where: Axes | Lanes) -> None:
        self.where = where

    def forward(self, x, *index):
        self.shape = x.shape
        self.save(*index)
        return self.where.read(x, *index)

    def backward(self, gy):
        index = self.saved
        return IndexAdd(self.where, self.shape)(None, gy, *index), *[None] * len(index)


class IndexAdd(Function):
    """y = x (or zeros) with v added at an index, more than once where it repeats;  gx = gy,  gv = gy there."""

    def __init__(self, where: Axes | Lanes, shape: tuple[int, ...]) -> None:
        self.where, self.shape = where, shape

    def forward(self, x, v, *index):
        self.save(*index)
        y = array_module(v).zeros(self.shape, v.dtype) if x is None else x.copy(order="C")
        rows, length = self.where.rows(self.shape, *index)
        add_rows(y, rows, v, length)
        return y

    def backward(self, gy):
        index = self.saved
        return gy, Index(self.where)(gy, *index) if self.needs[1] else None, *[None] * len(index)


class Scatter(Function):
    """y = x with v in place of the elements at an index;  gx = gy with zeros there,  gv = gy there."""

    def __init__(self, axis: int) -> None:
        self.where = Lanes(axis)

    def forward(self, x, v, index):
        self.save(index)
        y = x.copy(order="C")
        y.reshape(-1)[self.where.places(x.shape, index)] = v
        return y

    def backward(self, gy):
        (index,) = self.saved
        gx = gy.scatter(self.where.axis, index, 0) if self.needs[0] else None
        return gx, gy.gather(self.where.axis, index) if self.needs[1] else None, None


def add_rows(y: Any, rows: Any, v: Any, length: int) -> None:
    """Add v, rows of a length, to the rows of y with these numbers, in their order; on arrays."""
    if v.size:
        kernels_for(v).index_add(y.reshape(-1, length), rows, v.reshape(-1, length))


def in_range(index: Tensor, shape: tuple[int, ...], axis: int, lowest: int | None = None) -> Tensor:
    """The index as int64, without negative numbers; raises if one is below lowest (by default −length) or too large."""
    n, a = shape[axis], index.data
    if a.dtype not in (dtypes.int64, dtypes.int32):
        raise IndexError(f"an index must be of integers, int64 or int32, not {a.dtype}; use .long()")
    if a.size == 0:
        return index.to(dtypes.int64)
    low, high = int(a.min()), int(a.max())
    if low < (-n if lowest is None else lowest) or high >= n:
        raise IndexError(f"index {high if high >= n else low} is out of range for axis {axis} with length {n} "
                         f"(tensor of shape {shape})")
    index = index.to(dtypes.int64)
    return index if low >= 0 else Tensor(index.data + n * (index.data < 0))


# -- gather and scatter ---------------------------------------------------------------------------------------------

def _lanes(name: str, input: Tensor, dim: int, index: Tensor) -> tuple[int, Tensor]:
    """The axis and the checked index of gather and its relatives."""
    axis = real_axis(name, dim, input)
    if index.ndim != input.ndim or any(n > m for i, (n, m) in enumerate(zip(index.shape, input.shape)) if i != axis):
        raise RuntimeError(f"{name}: index has shape {index.shape}, but it must have as many axes as input, which has "
                           f"shape {input.shape}, and be no longer than it except along dim {dim}")
    return axis, in_range(index, input.shape, axis, lowest=0)


def _source(name: str, input: Tensor, index: Tensor, src: Tensor) -> Tensor:
    """The part of src that belongs to the index."""
    if src.dtype != input.dtype:
        raise RuntimeError(f"{name}: input is {input.dtype} but src is {src.dtype}; convert one with .to()")
    if src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape)):
        raise RuntimeError(f"{name}: index has shape {index.shape}, but src has shape {src.shape}; it must be at least "
                           "as long along every axis")
    return src if src.shape == index.shape else src[tuple([slice(n) for n in index.shape])]


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[i, j, ...] = input[index[i, j, ...], j, ...] for dim 0, and so on for the other axes.

    index has as many axes as input; along axes other than dim it may be shorter. PyTorch's sparse_grad does not exist.
    """
    if input.ndim == 0 or index.ndim == 0 and input.ndim == 1:  # numbers count as vectors of one element
        return gather(input.reshape(-1), dim, index.reshape(-1)).reshape(index.shape)
    axis, index = _lanes("gather", input, dim, index)
    return Index(Lanes(axis))(input, index)


def scatter(input: Tensor, dim: int, index: Tensor, src: Tensor | Number | None = None, *,
            value: Number | None = None) -> Tensor:
    """input with y[index[i, j, ...], j, ...] = src[i, j, ...] for dim 0, and so on.

    A number may be called value, as in PyTorch. Without its reduce, which it is about to remove: scatter_add adds.
    """
    if (src is None) == (value is None):
        raise TypeError("scatter: give either src or value")
    if input.ndim == 0:  # a number counts as a vector of one element
        src = src.reshape(-1) if isinstance(src, Tensor) else src
        return scatter(input.reshape(1), dim, index.reshape(-1), src, value=value).reshape(())
    axis, index = _lanes("scatter", input, dim, index)
    if isinstance(src, Tensor):
        return Scatter(axis)(input, _source("scatter", input, index, src), index)
    return Scatter(axis)(input, as_operand(value if src is None else src, input.dtype, input.data), index)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with y[index[i, j, ...], j, ...] += src[i, j, ...] for dim 0, and so on; repeated indices add up."""
    if input.ndim == 0:
        return scatter_add(input.reshape(1), dim, index.reshape(-1), src.reshape(-1)).reshape(())
    axis, index = _lanes("scatter_add", input, dim, index)
    return IndexAdd(Lanes(axis), input.shape)(input, _source("scatter_add", input, index, src), index)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """gather whose operands are broadcast except along dim; without dim, elements of the flattened input."""
    if dim is None:
        return gather(input.flatten(), 0, in_range(indices.flatten(), (input.numel(),), 0))
    axis = real_axis("take_along_dim", dim, input)
    if indices.ndim != input.ndim:
        raise RuntimeError(f"take_along_dim: indices have shape {indices.shape}, but input has shape {input.shape}; "
                           "both must have equally many axes")
    try:
        shape = np.broadcast_shapes(*[x.shape[:axis] + (1,) + x.shape[axis + 1:] for x in (input, indices)])
    except ValueError:
        raise RuntimeError(f"take_along_dim: shapes {input.shape} and {indices.shape} do not broadcast: lengths must "
                           f"be equal or 1 except along dim {dim}") from None
    input, indices = (x.expand(shape[:axis] + (x.shape[axis],) + shape[axis + 1:]) for x in (input, indices))
    return gather(input, axis, in_range(indices, input.shape, axis))


# -- indices along one axis, or of the flattened tensor -------------------------------------------------------------

def _vector(name: str, input: Tensor, dim: int, index: Tensor) -> tuple[int, Tensor]:
    """The axis and the checked index of index_select and index_add."""
    axis = axis_of(name, dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(f"{name}: index must have one axis, not shape {index.shape}")
    return axis, in_range(index.reshape(-1), input.shape or (1,), axis, lowest=0)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of input whose numbers along dim are in the vector index."""
    axis, index = _vector("index_select", input, dim, index)
    if input.ndim == 0:
        if index.numel() != 1:
            raise RuntimeError(f"index_select: a 0-d tensor takes an index of one element, not {index.numel()}")
        return input.clone()
    return Index(Axes((False,) * axis + (True,)))(input, index)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Number = 1) -> Tensor:
    """input with alpha times the slices of source added to those whose numbers along dim are in the vector index."""
    if input.ndim == 0:
        return index_add(input.reshape(1), dim, index, source.reshape(-1), alpha=alpha).reshape(())
    axis, index = _vector("index_add", input, dim, index)
    expected = input.shape[:axis] + index.shape + input.shape[axis + 1:]
    if source.shape != expected or source.dtype != input.dtype:
        raise RuntimeError(f"index_add: source is {source.dtype} of shape {source.shape}, but input ({input.dtype}, "
                           f"shape {input.shape}) and {index.numel()} indices along dim {dim} need shape {expected}")
    if type(alpha) is not int or alpha != 1:
        check_factor("index_add", "alpha", alpha, source.dtype)
        source = source * alpha
    return IndexAdd(Axes((False,) * axis + (True,)), input.shape)(input, source, index)


def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """input with input[indices] = values (broadcast); with accumulate += values, and repeated indices add up."""
    if values.dtype != input.dtype:
        raise RuntimeError(f"index_put: input is {input.dtype} but values are {values.dtype}; convert one with .to()")
    if accumulate:
        used = sum([i.ndim if i.dtype == dtypes.bool_ else 1 for i in indices])
        shape, behind = input.shape[:used], input.shape[used:]
        rows = Tensor(array_module(input.data).arange(math.prod(shape)).reshape(shape))[tuple(indices)]
        added = values.expand(rows.shape + behind).reshape((rows.numel(), *behind))
        return input.reshape((math.prod(shape), *behind)).index_add(0, rows.flatten(), added).reshape(input.shape)
    result = input.clone()
    result[tuple(indices)] = values
    return result


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of the flattened input at the indices, in the shape of index."""
    if index.dtype == dtypes.int32:
        raise RuntimeError("take: index must be int64, not int32; use .long()")
    return Index(Axes((True,)))(input.flatten(), in_range(index, (input.numel(),), 0))


# -- masks ----------------------------------------------------------------------------------------------------------

def _check_mask(name: str, mask: Tensor) -> None:
    if mask.dtype != dtypes.bool_:
        raise RuntimeError(f"{name}: mask must be a bool tensor, not {mask.dtype}")


def masked_fill(input: Tensor, mask: Tensor, value: Tensor | Number) -> Tensor:
    """value where mask is true, else input; value is a number or a tensor without axes, in the dtype of input."""
    _check_mask("masked_fill", mask)
    expect_operands("masked_fill", value)
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"masked_fill: value must be a number or have no axes, not shape {value.shape}")
    elif dtypes.kind(dtypes.of_scalar(value)) > max(dtypes.kind(input.dtype), 1):
        raise RuntimeError(f"masked_fill: value {value} cannot be converted to {input.dtype}")
    return input.where(mask.logical_not(), as_operand(value, input.dtype, input.data))


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements of input where mask is true, as a vector; both are broadcast."""
    _check_mask("masked_select", mask)
    shape = broadcast_shapes("masked_select", input.shape, mask.shape)
    return input.expand(shape)[mask.expand(shape)]
