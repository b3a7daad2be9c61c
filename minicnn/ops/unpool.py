"""Max unpooling: values put back where max pooling took them from, with zeros between them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import array_module
from ..engine import Function, Tensor
from .arguments import IMAGE, per_axis, same_floats
from .pool import PoolGather

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]


class Unpool(Function):
    """y[index] = x, plane by plane, and 0 elsewhere (of equal indices the last counts);  gx = gy[index]."""

    def __init__(self, length: int) -> None:
        self.length = length

    def forward(self, x, index):
        self.save(index)
        xp, (n, c, _, count) = array_module(x), x.shape
        y = xp.zeros((n * c, self.length), x.dtype)
        y[xp.arange(n * c)[:, None], index.reshape(n * c, count)] = x.reshape(n * c, count)
        return y.reshape(n, c, 1, self.length)

    def backward(self, gy):
        return PoolGather()(gy, self.saved[0]), None


def max_unpool2d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 output_size: Sequence[int] | None = None) -> Tensor:
    """The way back from max_pool2d(..., return_indices=True): each value where it came from, zeros elsewhere.

    input and indices (N, C, H, W) or (C, H, W) → (N, C, OH, OW) of output_size, by default
    OH = (H − 1)·stride − 2·padding + kernel_size; less than one stride away from it is allowed. gx = gy[indices]. Where
    two values have one index, one of them stays. Raises ValueError for another output_size, RuntimeError for an index
    outside the output or one that is no int64. Zeiler & Fergus 2014.
    """
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 output_size: Sequence[int] | None = None) -> Tensor:
    """The way back from max_pool1d(..., return_indices=True): max_unpool2d with one axis.

    input and indices (N, C, L) or (C, L) → (N, C, OL). Raises ValueError and RuntimeError as max_unpool2d. Zeiler &
    Fergus 2014.
    """
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 output_size: Sequence[int] | None = None) -> Tensor:
    """The way back from max_pool3d(..., return_indices=True): max_unpool2d with three axes.

    input and indices (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW). Raises ValueError and RuntimeError as
    max_unpool2d. Zeiler & Fergus 2014.
    """
    return _unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def _unpool(name: str, axes: int, x: Tensor, index: Tensor, kernel: Any, stride: Any, padding: Any,
            output_size: Sequence[int] | None) -> Tensor:
    if x.ndim not in (axes + 1, axes + 2) or 0 in x.shape[-axes - 1:]:
        raise RuntimeError(f"{name}: x must be (N, C, {IMAGE[axes]}) or (C, {IMAGE[axes]}) with C, {IMAGE[axes]} > 0, "
                           f"not {x.shape}")
    same_floats(name, x=x)
    if index.dtype != np.int64 or index.shape != x.shape:
        raise RuntimeError(f"{name}: indices must be int64 of x's shape {x.shape}, not {index.dtype} {index.shape}; "
                           "max pooling gives them with return_indices=True")
    size = _output_size(name, x.shape[-axes:], kernel, stride, padding, output_size)
    length = math.prod(size)
    if index.numel() and not (0 <= index.data.min() and index.data.max() < length):
        raise RuntimeError(f"{name}: indices must be 0 to {length - 1} for an output of {size}, not "
                           f"{index.data.min()} to {index.data.max()}; is output_size that of the pooled input?")
    front, count = x.shape[:-axes], math.prod(x.shape[-axes:])
    flat = (*front, 1, count) if len(front) == 2 else (1, *front, 1, count)                # (N, C, 1, count)
    return Unpool(length)(x.reshape(flat), index.reshape(flat)).reshape(*front, *size)


def _output_size(name: str, size: tuple[int, ...], kernel: Any, stride: Any, padding: Any,
                 wanted: Sequence[int] | None) -> tuple[int, ...]:
    axes = len(size)
    kernel = per_axis(name, "kernel_size", kernel, axes, one_for_all=False)
    stride = kernel if stride is None else per_axis(name, "stride", stride, axes, one_for_all=False)
    padding = per_axis(name, "padding", padding, axes, 0, one_for_all=False)
    usual = tuple([(n - 1) * s - 2 * p + k for n, s, p, k in zip(size, stride, padding, kernel, strict=True)])
    given = usual if wanted is None else tuple(wanted)[2:] if len(wanted) == axes + 2 else tuple(wanted)
    if len(given) != axes or any([abs(m - n) >= s or m < 0 for m, n, s in zip(given, usual, stride, strict=True)]):
        raise ValueError(f"{name}: output_size {given} must be {axes} lengths, or all {axes + 2} of the shape, each "
                         f"less than the stride {stride} away from {usual}")
    return given
