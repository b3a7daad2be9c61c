"""Extremes and order: the largest and smallest elements, sorted ones, their places, the different ones among them.

(..., n, ...) → (...) along dim, or (..., 1, ...) with keepdim; what is sorted keeps its shape. The gradient goes to the
elements that were taken, the indices have none. Raises IndexError for a dim out of range or without elements,
RuntimeError for a type without order. As in PyTorch and NumPy.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import dtypes
from ..backend import array_module
from ..engine import Tensor
from .basic import refuse_bool
from .reduce import Dim, Reduction, axes_of, keepdim_needs_dim, not_empty, one_axis
from .shape import axis_of

__all__ = ["amax", "amin", "argmax", "argmin", "argsort", "argwhere", "max", "median", "min", "nonzero", "sort", "topk",
           "unique"]


class ValuesIndices(NamedTuple):
    """Elements picked along an axis, and where they were."""

    values: Tensor
    indices: Tensor


# -- extremes -------------------------------------------------------------------------------------------------------

class Amax(Reduction):
    """y = max x over axes;  gx = gy/n for each of the n elements equal to y, else 0."""

    nan_is_nan = False

    def pick(self, x):
        return x.max(self.axes, keepdims=self.keepdim)

    def forward(self, x):
        y = self.pick(x)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        y, gy = self.kept(y, x.shape), self.kept(gy, x.shape)
        chosen = x == y
        if self.nan_is_nan:
            chosen = chosen | (x.isnan() & y.isnan())
        return gy / chosen.sum(self.axes, keepdim=True) * chosen


class Amin(Amax):
    """y = min x over axes;  gx = gy/n for each of the n elements equal to y, else 0."""

    def pick(self, x):
        return x.min(self.axes, keepdims=self.keepdim)


class Max(Amax):
    """amax over all axes, with the gradient of a NaN going to the NaNs, as in PyTorch (which has it only here)."""

    nan_is_nan = True


class Min(Amin):
    """amin over all axes, with the gradient of a NaN going to the NaNs."""

    nan_is_nan = True


class Median(Max):
    """y = the lower median of all elements, NaN if one is NaN;  gx = gy/n for each of the n elements equal to y."""

    def pick(self, x):
        x = x.reshape(-1)
        return x[_middle(x, 0)[0]] if x.size else array_module(x).full((), math.nan, x.dtype)


def _middle(x: Any, axis: int) -> Any:
    """Where the lower median along an axis is, or the first NaN; the axis stays, with length 1."""
    xp = array_module(x)
    index = xp.argsort(x, axis, kind="stable").take(xp.asarray([(x.shape[axis] - 1) // 2]), axis)
    nan = x != x
    return xp.where(nan.any(axis, keepdims=True), nan.argmax(axis, keepdims=True), index)


def _along(name: str, index_of: Callable[[Any, int], Any], input: Tensor, dim: int, keepdim: bool) -> ValuesIndices:
    """One element picked along an axis: its gradient is that of gather."""
    axis = one_axis(name, input, dim)
    x = input if input.ndim else input.reshape(1)
    not_empty(name, x.shape, (axis,))
    indices = Tensor(index_of(x.data, axis))
    values = x.gather(axis, indices)
    if keepdim and input.ndim:
        return ValuesIndices(values, indices)
    return ValuesIndices(values.squeeze(axis), indices.squeeze(axis))


def _argmax(x: Any, axis: int) -> Any:
    return x.argmax(axis, keepdims=True)


def _argmin(x: Any, axis: int) -> Any:
    return x.argmin(axis, keepdims=True)


def _extreme(name: str, function: type[Reduction], input: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    axes = axes_of(name, input, dim)
    not_empty(name, input.shape, axes)
    return function(axes, keepdim)(input)


def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The largest element over dim (all axes by default), NaN if there is one; equals share the gradient evenly."""
    return _extreme("amax", Amax, input, dim, keepdim)


def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The smallest element over dim (all axes by default), NaN if there is one; equals share the gradient evenly."""
    return _extreme("amin", Amin, input, dim, keepdim)


def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The largest of all elements, equals sharing the gradient evenly; with a second tensor maximum(input, other).

    With dim, (values, indices) along that axis: the first of equals, or the first NaN, gets the gradient. A second
    tensor may also stand in the place of dim, as in PyTorch.
    """
    return _max_or_min("max", Max, _argmax, input, dim, keepdim, other)


def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The smallest of all elements, equals sharing the gradient evenly; with a second tensor minimum(input, other).

    With dim, (values, indices) along that axis: the first of equals, or the first NaN, gets the gradient. A second
    tensor may also stand in the place of dim, as in PyTorch.
    """
    return _max_or_min("min", Min, _argmin, input, dim, keepdim, other)


def _max_or_min(name: str, whole: type[Reduction], index_of: Callable[[Any, int], Any], input: Tensor,
                dim: int | Tensor | None, keepdim: bool, other: Tensor | None) -> Any:
    if isinstance(dim, Tensor):
        dim, other = None, dim
    keepdim_needs_dim(name, dim, keepdim)
    if other is not None:
        if dim is not None:
            raise TypeError(f"{name}: dim = {dim} and other exclude each other")
        return input.maximum(other) if name == "max" else input.minimum(other)
    if dim is None:
        return _extreme(name, whole, input, None, keepdim)
    return _along(name, index_of, input, dim, keepdim)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of all elements, the lower of two, NaN if one is NaN; with dim (values, indices) along that axis."""
    axes = axes_of("median", input, None)
    refuse_bool("median", input)
    keepdim_needs_dim("median", dim, keepdim)
    if dim is not None:
        return _along("median", _middle, input, dim, keepdim)
    if not dtypes.is_floating(input.dtype):
        not_empty("median", input.shape, axes)
    return Median(axes, False)(input)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element along dim, or in the flat tensor; the first of equals, or the first NaN."""
    return _arg("argmax", _argmax, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element along dim, or in the flat tensor; the first of equals, or the first NaN."""
    return _arg("argmin", _argmin, input, dim, keepdim)


def _arg(name: str, index_of: Callable[[Any, int], Any], input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    axis = one_axis(name, input, dim)
    refuse_bool(name, input)
    flat = dim is None or input.ndim == 0
    axes = tuple(range(input.ndim)) if flat else (axis,)
    not_empty(name, input.shape, axes)
    index = index_of(input.data.reshape(-1) if flat else input.data, axis)
    return Tensor(index.reshape([1 if i in axes else n for i, n in enumerate(input.shape) if keepdim or i not in axes]))


# -- order ----------------------------------------------------------------------------------------------------------

def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Where the elements in ascending (or descending) order are found along dim; NaN counts as the largest number.

    Equal elements always keep their order, whether or not a stable order is asked for.
    """
    axis = axis_of("argsort", dim, input.ndim)
    xp, x = array_module(input.data), input.data.reshape(input.shape or (1,))
    if x.dtype.kind == "V":  # bfloat16, whose NaN NumPy sorts anywhere
        x = x.astype(dtypes.float32)
    if descending:  # backwards, so that equal elements keep their order
        order = x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = xp.argsort(x, axis, kind="stable")
    return Tensor(order.reshape(input.shape))


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesIndices:
    """(values, indices): the elements in ascending (or descending) order along dim, and where they were."""
    indices = argsort(input, dim, descending, stable)
    return ValuesIndices(input.gather(dim, indices), indices)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    """(values, indices): the k largest (or smallest) elements along dim, always in order; of equal ones the first."""
    refuse_bool("topk", input)
    axis = axis_of("topk", dim, input.ndim)
    n = (input.shape or (1,))[axis]
    if not 0 <= k <= n:
        raise RuntimeError(f"topk: k = {k} must be 0 to {n}, the length of dim {dim}")
    indices = argsort(input, dim, descending=largest)
    if input.ndim:
        indices = indices.narrow(axis, 0, k).contiguous()
    return ValuesIndices(input.gather(dim, indices), indices)


def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None) -> Any:
    """The different elements (or slices along dim), always in ascending order; NaN differs from NaN.

    With return_inverse also where each element of input is among them, with return_counts how often each occurs.
    """
    axis = None if dim is None else axis_of("unique", dim, input.ndim)
    values, inverse, counts = array_module(input.data).unique(
        input.data, return_inverse=True, return_counts=True, axis=axis, equal_nan=False)
    results = [values]
    if return_inverse:
        results.append(inverse.reshape(input.shape if dim is None else -1))
    if return_counts:
        results.append(counts)
    return tuple([Tensor(a) for a in results]) if len(results) > 1 else Tensor(values)


def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not 0, one row each: shape (count, axes)."""
    return Tensor(array_module(input.data).argwhere(input.data))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0: as rows of a matrix, or with as_tuple one vector for each axis."""
    if not as_tuple:
        return argwhere(input)
    return tuple([Tensor(i) for i in input.data.reshape(input.shape or (1,)).nonzero()])
