"""Which elements each output of a pooling looks at. Worked out once per shape and remembered.

Per axis it is a start and a stop for each output. Signals become images of one row. For volumes there are two Windows:
those over each slice, and those over the depth of the volume with its slices laid out flat.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from ..backend import Windows
from .arguments import per_axis

Sizes = tuple[int, ...]
Bounds = tuple[np.ndarray, np.ndarray]  # of one axis: the start and the stop of each window


def sliding(name: str, size: Sizes, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Sizes, ...]:
    """kernel, stride, padding and dilation of a regular pooling, one number per axis, after all checks."""
    axes = len(size)
    kernel = per_axis(name, "kernel_size", kernel, axes)
    default = stride is None or isinstance(stride, (tuple, list)) and not stride  # () as in PyTorch
    stride = kernel if default else per_axis(name, "stride", stride, axes)
    padding = per_axis(name, "padding", padding, axes, 0)
    if any(padding) and any([p > k // 2 for k, p in zip(kernel, padding)]):
        raise RuntimeError(f"{name}: padding {padding} is larger than half of kernel {kernel}; a window could see "
                           "nothing but padding")
    return kernel, stride, padding, per_axis(name, "dilation", dilation, axes)


def _starts(name: str, n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> np.ndarray:
    """The first element of each window, in the coordinates of the axis (negative inside the padding)."""
    span = n + 2 * p - d * (k - 1) - 1
    count = (-(-span // s) if ceil_mode else span // s) + 1
    if ceil_mode and (count - 1) * s >= n + p:
        count -= 1  # a window must start inside the image or the padding before it
    if count < 1:
        raise RuntimeError(f"{name}: a window of {k} (dilation {d}) does not fit into {n} with padding {p}")
    return np.arange(count) * s - p


def _windows(bounds: list[Bounds], step: Sizes) -> tuple[Windows, ...]:
    """Those over slices and, for volumes, those over the depth."""
    if len(bounds) == 1:
        bounds, step = [(np.zeros(1, int), np.ones(1, int)), *bounds], (1, *step)
    *depth, rows, columns = bounds
    slices = Windows(*rows, *columns, step[-2:])
    if not depth:
        return (slices,)
    place = np.arange(len(rows[0]) * len(columns[0]))
    return slices, Windows(*depth[0], place, place + 1, (step[0], 1))


@lru_cache
def max_windows(name: str, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
                ceil_mode: bool) -> tuple[Windows, ...]:
    """The windows of max pooling, none of which is empty."""
    bounds = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        start = _starts(name, n, k, s, p, d, ceil_mode)
        stop = np.minimum(start + d * (k - 1) + 1, n)
        start = np.where(start < 0, start % d, start)  # the first element of the window that is inside the image
        if (start >= stop).any():
            raise RuntimeError(f"{name}: a window of {kernel} with dilation {dilation} and padding {padding} steps "
                               f"over the whole image {size}; it would see nothing but padding")
        bounds.append((start, stop))
    return _windows(bounds, dilation)


@lru_cache
def avg_windows(name: str, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool,
                count_include_pad: bool, divisor_override: int | None,
                dtype: np.dtype) -> tuple[tuple[Windows, ...], tuple[np.ndarray, ...]]:
    """The windows of average pooling, and what the sum over each is divided by."""
    if len(size) == 3 and any([k > n for n, k in zip(size, kernel, strict=True)]):  # PyTorch's rule for volumes alone
        raise RuntimeError(f"{name}: a window of {kernel} is larger than the volume {size}, padding not counted")
    bounds, counts = [], []
    for n, k, s, p in zip(size, kernel, stride, padding, strict=True):
        start = _starts(name, n, k, s, p, 1, ceil_mode)
        stop = np.minimum(start + k, n + p)
        padded = stop - start
        start, stop = np.maximum(start, 0), np.minimum(stop, n)
        bounds.append((start, stop))
        counts.append(padded if count_include_pad else stop - start)
    return _windows(bounds, (1,) * len(size)), _divisors(counts, divisor_override, dtype)


@lru_cache
def adaptive_windows(size: Sizes, output: Sizes, dtype: np.dtype) -> tuple[tuple[Windows, ...], tuple[np.ndarray, ...]]:
    """Output i of m looks at ⌊i·n/m⌋ … ⌈(i + 1)·n/m⌉ of n; with the number of elements of each window."""
    bounds = [(np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)) for n, m in zip(size, output, strict=True)]
    return _windows(bounds, (1,) * len(size)), _divisors([stop - start for start, stop in bounds], None, dtype)


def _divisors(counts: list[np.ndarray], override: int | None, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """One for each Windows. Slices are added up only; what is divided is the sum over the depth."""
    dtype = np.promote_types(dtype, np.float32)  # a window may have more elements than float16 has numbers
    *depth, rows, columns = [np.ones(1, int), *counts][-max(len(counts), 2):]
    divisor = np.multiply.outer(rows, columns)  # (OH, OW)
    ones = []
    if depth:
        ones = [np.ones(divisor.shape, dtype)]
        divisor = np.multiply.outer(depth[0], divisor.reshape(-1))  # (OD, OH·OW)
    divisor = divisor.astype(dtype)
    if override:
        divisor[:] = override
    return *ones, divisor
