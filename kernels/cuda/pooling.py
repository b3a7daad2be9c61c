"""Pooling over any windows: a thread for each output; in the gradients one for each pixel, or a warp for each plane."""

from functools import lru_cache

import numpy as np

from ..contract import Array, Pair, Windows
from . import elementwise
from .module import THREADS, contiguous, device_of, empty, for_floats, launch, module_of, on_device, spread, wide_type

_FILE = "pooling.cu"
KEPT = 4096  # tables: a recorded step reads them as long as it is there


@lru_cache(KEPT)
def _bounds(windows: Windows, device: int | None) -> Array:
    """The bounds of all windows, on the device of the arrays."""
    rows, columns = (windows.row_start, windows.row_stop), (windows.col_start, windows.col_stop)
    return on_device(np.concatenate([*rows, *columns]).astype(np.int32), device)


@lru_cache(KEPT)
def _reach(windows: Windows, size: Pair, device: int | None) -> Array:
    """For each row, and for each column, the first and the last + 1 of the windows that contain it."""
    reach = []
    for start, stop, n in ((windows.row_start, windows.row_stop, size[0]),
                           (windows.col_start, windows.col_stop, size[1])):
        place = np.arange(n)[:, None]
        contains = (start <= place) & (place < stop)  # (n, windows)
        reach += [contains.argmax(1), (len(start) - contains[:, ::-1].argmax(1)) * contains.any(1)] if len(start) else \
            [np.zeros(n), np.zeros(n)]
    return on_device(np.concatenate(reach).astype(np.int32), device)


def _pooling(size: tuple[int, ...], windows: Windows) -> tuple[int, ...]:
    """struct Pooling of pooling.cu."""
    return (*size, len(windows.row_start), len(windows.col_start), *windows.step)


def _divisor(divisor: Array, like: Array) -> Array:
    return module_of(like).asarray(divisor, wide_type(like))


@for_floats
def max_pool2d(x: Array, windows: Windows) -> tuple[Array, Array]:
    pooling = _pooling(x.shape[2:], windows)
    y = empty((*x.shape[:2], *pooling[2:4]), x)
    index = module_of(x).empty(y.shape, np.int64)
    launch(_FILE, "max_pool2d", spread(y.size), (THREADS,), contiguous(x), _bounds(windows, device_of(x)), y, index,
           y.size, pooling)
    return y, index


@for_floats
def pool_scatter(gy: Array, index: Array, x_shape: tuple[int, ...]) -> Array:
    (n, c, h, w), outputs = x_shape, gy.shape[2] * gy.shape[3]
    gx = module_of(gy).empty(x_shape, wide_type(gy))
    launch(_FILE, "pool_scatter", (n * c,), (32,), contiguous(gy), contiguous(index), gx, h * w, outputs)
    return gx.astype(gy.dtype, copy=False)


@for_floats
def pool_gather(x: Array, index: Array) -> Array:
    y, (h, w) = empty(index.shape, x), x.shape[2:]
    launch(_FILE, "pool_gather", spread(y.size), (THREADS,), contiguous(x), contiguous(index), y, y.size, h * w,
           max(1, index.shape[2] * index.shape[3]))
    return y


@for_floats
def avg_pool2d(x: Array, windows: Windows, divisor: Array) -> Array:
    y = empty((*x.shape[:2], *divisor.shape), x)
    launch(_FILE, "avg_pool2d", spread(y.size), (THREADS,), contiguous(x), _bounds(windows, device_of(x)),
           _divisor(divisor, x), y, y.size, _pooling(x.shape[2:], windows))
    return y


@for_floats
def avg_pool2d_grad(gy: Array, windows: Windows, divisor: Array, x_shape: tuple[int, ...]) -> Array:
    gx, size = empty(x_shape, gy), (x_shape[2], x_shape[3])
    launch(_FILE, "avg_pool2d_grad", spread(gx.size), (THREADS,), contiguous(gy), _bounds(windows, device_of(gy)),
           _reach(windows, size, device_of(gy)), _divisor(divisor, gy), gx, gx.size, _pooling(size, windows))
    return gx


def activated_avg_pool2d(x: Array, activation: str, windows: Windows, divisor: Array) -> tuple[Array, Array]:
    a = getattr(elementwise, activation)(x)
    return avg_pool2d(a, windows, divisor), a


def activated_avg_pool2d_grad(gy: Array, a: Array, activation: str, windows: Windows, divisor: Array) -> Array:
    return getattr(elementwise, activation + "_grad")(avg_pool2d_grad(gy, windows, divisor, a.shape), a)
