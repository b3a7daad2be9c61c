"""x[index] and x[index] = v."""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..backend import array_module, current, move, one_device
from ..engine import Function, Tensor
from .basic import as_operand
from .index import Axes, Index, in_range
from .shape import Part

# -- what an index means --------------------------------------------------------------------------------------------

class Where(NamedTuple):
    """The meaning of x[index], in two steps as in PyTorch: ints, slices and None give a view, then arrays index it."""

    basic: tuple  # for x
    pattern: tuple[bool, ...]  # for the view: True where an array stands; a mask of k axes counts as one entry

    def write(self, x: Any, v: Any, index: Sequence[Any]) -> None:
        """x[index] = v on arrays."""
        view = x[self.basic]
        key = Axes(self.pattern).key(index) if index else ...
        try:
            view[key] = v
        except ValueError:
            shape = view[key].shape
            raise RuntimeError(f"x[index] = value: a value of shape {v.shape} cannot be broadcast to the shape {shape} "
                               f"that the index chooses (of a tensor of shape {x.shape})") from None


def _parse(x: Tensor, index: Any) -> tuple[Where, list[Tensor]]:
    """What an index into a tensor means, and its integer and bool arrays, on the GPU if the tensor is; negative numbers
    are resolved."""
    shape = x.shape
    items = [_as_item(item) for item in (index if isinstance(index, tuple) else (index,))]
    if sum(item is Ellipsis for item in items) > 1:
        raise IndexError("an index can have only one Ellipsis (...)")
    used = sum(_axes_used(item) for item in items)
    if used > len(shape):
        raise IndexError(f"too many indices: {used} for a tensor with {len(shape)} axes (shape {shape})")
    basic: list[Any] = []
    pattern: list[bool] = []
    arrays: list[Tensor] = []
    axis = 0
    for item in items:
        if item is Ellipsis:
            axis += len(shape) - used
            basic += [slice(None)] * (len(shape) - used)
            pattern += [False] * (len(shape) - used)
        elif isinstance(item, int):
            if not -shape[axis] <= item < shape[axis]:
                raise IndexError(f"index {item} is out of range for axis {axis} with length {shape[axis]} "
                                 f"(tensor of shape {shape})")
            axis += 1
            basic.append(item)
        elif isinstance(item, Tensor) and item.ndim == 0:  # a single bool: a new axis of length 1 or 0
            basic.append(None)
            pattern.append(True)
            arrays.append(Tensor(array_module(item.data).zeros(int(item.data), np.int64)))
        elif isinstance(item, Tensor) and item.dtype == dtypes.bool_:
            if item.shape != shape[axis:axis + item.ndim]:
                raise IndexError(f"a mask of shape {item.shape} does not fit axes {axis} to {axis + item.ndim - 1} "
                                 f"of a tensor of shape {shape}")
            axis += item.ndim
            basic += [slice(None)] * item.ndim
            pattern.append(True)
            arrays.append(item)
        elif isinstance(item, Tensor):
            arrays.append(in_range(item, shape, axis))
            axis += 1
            basic.append(slice(None))
            pattern.append(True)
        else:
            axis += item is not None
            basic.append(item)
            pattern.append(False)
    if arrays:
        if not isinstance(x.data, np.ndarray):
            arrays = [Tensor(move(a.data, x.device)) if isinstance(a.data, np.ndarray) else a for a in arrays]
        one_device("x[index]", x.data, *[a.data for a in arrays])
    return Where((*basic, ...), tuple(pattern)), arrays


def _as_item(item: Any) -> Any:
    """An element of an index as an int, a slice, None, Ellipsis or a Tensor of ints or bools."""
    if item is None or item is Ellipsis or type(item) is int:
        return item
    if isinstance(item, slice):
        if item.step is not None and operator.index(item.step) <= 0:
            raise ValueError(f"slice step {item.step} must be greater than zero; use flip(...) to reverse an axis")
        return item
    if isinstance(item, Tensor):
        tensor = item
    elif isinstance(item, (bool, int, np.generic, np.ndarray, list, tuple, range)):
        array = np.array(item)
        tensor = Tensor(array.astype(np.int64) if array.size == 0 and array.dtype != bool else array)
    else:
        raise IndexError("an index must be ints, slices, None, Ellipsis, or arrays of ints or bools, not "
                         f"{type(item).__name__}")
    if tensor.dtype == dtypes.uint8:
        raise IndexError("an index of dtype uint8 could be numbers or a mask; convert it with .long() or .bool()")
    if tensor.dtype.kind not in "iub":
        raise IndexError(f"arrays used as indices must be of ints or bools, not {tensor.dtype}")
    return int(tensor.data) if tensor.ndim == 0 and tensor.dtype != dtypes.bool_ else tensor


def _axes_used(item: Any) -> int:
    """How many axes of x an element of an index stands for."""
    if isinstance(item, Tensor):
        return item.ndim if item.dtype == dtypes.bool_ else 1
    return int(item is not None and item is not Ellipsis)


# -- operations -----------------------------------------------------------------------------------------------------

class Slice(Part):
    """y = x[ints, slices, None, ...], a view;  gx = zeros with gy in that place."""


class SetItem(Function):
    """x[where] = v, written into the memory of x;  gx = gy with zeros there,  gv = gy[where]."""

    def __init__(self, where: Where) -> None:
        self.where = where

    def forward(self, x, v, *index):
        self.save(*index)
        self.where.write(x, v, index)
        return x

    def backward(self, gy):
        index, gx, gv = self.saved, None, None
        if self.needs[0]:
            gx = gy.clone()
            _set(gx, self.where, index, Tensor(array_module(gy.data).zeros((), gy.dtype)))
        if self.needs[1]:
            gv = _get(gy, self.where, index)
        return gx, gv, *[None] * len(index)


def _get(x: Tensor, where: Where, index: Sequence[Tensor]) -> Tensor:
    """x[index]."""
    if not index or any(item != slice(None) for item in where.basic[:-1]):
        x = Slice(lambda a: a[where.basic])(x)
    if not index:
        return x
    arrays, given = [], iter(index)
    for i, indexed in enumerate(where.pattern):
        if indexed:
            array = next(given)
            if array.dtype == dtypes.bool_:
                x = x if array.ndim == 1 else x.flatten(i, i + array.ndim - 1)
                array = Tensor(array_module(x.data).flatnonzero(array.data))
            arrays.append(array)
    return Index(Axes(where.pattern))(x, *arrays)


def _set(x: Tensor, where: Where, index: Sequence[Tensor], value: Tensor) -> None:
    """x[index] = value."""
    x.check_memory()
    if not x.is_recorded_with(value):
        where.write(x.data, value.data, [i.data for i in index])
        x.touch()
        return
    x.check_no_leaf()
    view = x.data[where.basic]
    if index or not _wrote_through(x, view, value):
        x.check_history()
    if value.requires_grad:
        shape = view[Axes(where.pattern).key([i.data for i in index])].shape if index else view.shape
        while value.ndim > len(shape) and value.shape[0] == 1:
            value = value.squeeze(0)
        value = value if value.shape == shape else value.expand(shape)
    x.overwrite(SetItem(where)(x.past(x.data), value, *index))


def _wrote_through(x: Tensor, view: Any, value: Tensor) -> bool:
    """Whether all that x does not know of its memory is that value, the very part ``view`` of it, was written in place.

    So it is after x[i] += v, which Python spells t = x[i]; t += v; x[i] = t. The history of t is then that of the part.
    That of a view would not do: what was written may be more than the view shows.
    """
    return (x._clock is value._clock and value._seen == x._clock.recorded == x._seen + 1
            and value.grad_fn is not None and not value.grad_fn.views
            and value.data.shape == view.shape and value.data.strides == view.strides
            and _address(value.data) == _address(view))


def _address(a: Any) -> int:
    return a.ctypes.data if isinstance(a, np.ndarray) else a.data.ptr


def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: a view for ints, slices, None and Ellipsis; a copy if bool or integer arrays are among them."""
    if type(input.data) is np.ndarray:
        return _get(input, *_parse(input, index))
    with current(input.data):
        return _get(input, *_parse(input, index))


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, broadcast; gradients flow to value, and to the old elements of x that stay."""
    if value is None:
        raise TypeError("x[index] = None: expected a Tensor, an array or a number")
    value = as_operand(value, input.dtype, input.data)
    one_device("x[index] = value", input.data, value.data)
    _set(input, *_parse(input, index), value)
