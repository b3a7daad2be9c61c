"""Order: sorted elements, their places, and the different ones among them."""

from typing import Any, NamedTuple

from ..backend import array_module
from ..engine import Tensor
from .shape import axis_of

__all__ = ["argsort", "argwhere", "nonzero", "sort", "topk", "unique"]


class Sorted(NamedTuple):
    """Elements in order, and where each was along the axis."""

    values: Tensor
    indices: Tensor


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Where the elements in ascending (or descending) order are found along dim; NaN counts as the largest number.

    Equal elements always keep their order, whether or not a stable order is asked for.
    """
    axis = axis_of("argsort", dim, input.ndim)
    xp, x = array_module(input.data), input.data.reshape(input.shape or (1,))
    if descending:  # backwards, so that equal elements keep their order
        order = x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = xp.argsort(x, axis, kind="stable")
    return Tensor(order.reshape(input.shape))


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Sorted:
    """(values, indices): the elements in ascending (or descending) order along dim, and where they were."""
    indices = argsort(input, dim, descending, stable)
    return Sorted(input.gather(dim, indices), indices)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """(values, indices): the k largest (or smallest) elements along dim, always in order; of equal ones the first."""
    axis = axis_of("topk", dim, input.ndim)
    n = (input.shape or (1,))[axis]
    if not 0 <= k <= n:
        raise RuntimeError(f"topk: k = {k} must be 0 to {n}, the length of dim {dim}")
    indices = argsort(input, dim, descending=largest)
    if input.ndim:
        indices = indices.narrow(axis, 0, k).contiguous()
    return Sorted(input.gather(dim, indices), indices)


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
