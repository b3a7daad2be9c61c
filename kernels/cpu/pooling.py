"""Averages over windows, plane by plane, and each plane in two steps: down the rows, then along the columns.

The first step brings the rows of a window row down to one row, whole lines at a time, which are vector instructions;
what is left per output is one short run of columns instead of a rectangle. Planes are independent, each is one job.

Windows of 2×2 that tile the image, the commonest of all, need no bounds: output row r comes from rows 2r
and 2r + 1 of all planes laid end to end. An activation in front of them is worked out block by block, while its rows
are in the nearest cache. Where the window is the whole image, each plane is one row to be summed up.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..contract import Array, Windows
from . import elementwise
from .memory import empty
from .sums import axis_sum
from .support import for_floats, inlined
from .threads import jobs_of, threaded


@inlined
def _sum_plane(x, row_start, row_stop, col_start, col_stop, row_step, col_step, divisor, column, y):
    for i in range(row_start.size):
        column[:] = 0
        for h in range(row_start[i], row_stop[i], row_step):
            for w in range(x.shape[1]):
                column[w] += x[h, w]
        for j in range(col_start.size):
            total, w = x.dtype.type(0), col_start[j]
            while w < col_stop[j]:
                total += column[w]
                w += col_step
            y[i, j] = total / divisor[i, j]


@inlined
def _spread_plane(gy, row_start, row_stop, col_start, col_stop, row_step, col_step, divisor, column, gx):
    gx[:] = 0
    for i in range(row_start.size):
        column[:] = 0
        for j in range(col_start.size):
            share, w = gy[i, j] / divisor[i, j], col_start[j]
            while w < col_stop[j]:
                column[w] += share
                w += col_step
        for h in range(row_start[i], row_stop[i], row_step):
            for w in range(gx.shape[1]):
                gx[h, w] += column[w]


@threaded
def _sum_all(thread, x, row_start, row_stop, col_start, col_stop, row_step, col_step, divisor, y):
    column = np.empty(x.shape[2], x.dtype)  # sums of the columns of a window row
    for p in jobs_of(thread, x.shape[0]):
        _sum_plane(x[p], row_start, row_stop, col_start, col_stop, row_step, col_step, divisor, column, y[p])


@threaded
def _spread_all(thread, gy, row_start, row_stop, col_start, col_stop, row_step, col_step, divisor, gx):
    column = np.empty(gx.shape[2], gx.dtype)  # what each column of a window row receives
    for p in jobs_of(thread, gx.shape[0]):
        _spread_plane(gy[p], row_start, row_stop, col_start, col_stop, row_step, col_step, divisor, column, gx[p])


@threaded
def _fill_all(thread, value, gx):
    for p in jobs_of(thread, gx.shape[0]):
        for i in range(gx.shape[1]):
            gx[p, i] = value[p]


ROWS = 128  # of the output, in one job


@inlined
def _sum_rows(x, divisor, y):
    """Each row of y from two rows of x."""
    for r in range(y.shape[0]):
        upper, lower, line = x[2 * r], x[2 * r + 1], y[r]
        for j in range(line.size):
            line[j] = ((upper[2 * j] + lower[2 * j]) + (upper[2 * j + 1] + lower[2 * j + 1])) / divisor


@inlined
def _spread_rows(gy, divisor, gx):
    """Two rows of gx from each row of gy."""
    for r in range(gy.shape[0]):
        upper, lower, line = gx[2 * r], gx[2 * r + 1], gy[r]
        for j in range(line.size):
            upper[2 * j] = upper[2 * j + 1] = lower[2 * j] = lower[2 * j + 1] = line[j] / divisor


@threaded
def _sum_quads(thread, x, divisor, y):
    for job in jobs_of(thread, (y.shape[0] + ROWS - 1) // ROWS):
        first, last = job * ROWS, (job + 1) * ROWS
        _sum_rows(x[2 * first:2 * last], divisor, y[first:last])


@threaded
def _spread_quads(thread, gy, divisor, gx):
    for job in jobs_of(thread, (gy.shape[0] + ROWS - 1) // ROWS):
        first, last = job * ROWS, (job + 1) * ROWS
        _spread_rows(gy[first:last], divisor, gx[2 * first:2 * last])


@threaded
def _scatter_all(thread, gy, index, gx):
    for p in jobs_of(thread, gx.shape[0]):
        for i in range(gx.shape[1]):
            gx[p, i] = 0
        for i in range(gy.shape[1]):
            gx[p, index[p, i]] += gy[p, i]


@threaded
def _gather_all(thread, x, index, y):
    for p in jobs_of(thread, y.shape[0]):
        for i in range(y.shape[1]):
            y[p, i] = x[p, index[p, i]]


def _planes(x: Array) -> Array:
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h, w)


def _flat_planes(x: Array) -> Array:
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h * w)


def _lines(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1, x.shape[3])


def _bounds(windows: Windows) -> tuple:
    vectors = (np.ascontiguousarray(v, np.int64) for v in windows[:4])
    return *vectors, *windows.step


@lru_cache(64)
def _are_quads(windows: Windows, size: tuple[int, ...]) -> bool:
    """Whether the windows are 2×2 and tile an image of this size."""
    return (windows.step == (1, 1) and size[0] % 2 == size[1] % 2 == 0
            and all(np.array_equal(start, range(0, n, 2)) and np.array_equal(stop, start + 2) for start, stop, n in
                    ((windows.row_start, windows.row_stop, size[0]), (windows.col_start, windows.col_stop, size[1]))))


@lru_cache(64)
def _is_whole(windows: Windows, size: tuple[int, ...]) -> bool:
    """Whether there is one window, which is the whole image."""
    bounds = [[int(v) for v in vector] for vector in windows[:4]]
    return windows.step == (1, 1) and bounds == [[0], [size[0]], [0], [size[1]]]


def _one_number(divisor: Array) -> bool:
    return divisor.size > 0 and bool((divisor == divisor[0, 0]).all())


@for_floats
def pool_scatter(gy: Array, index: Array, x_shape: tuple[int, ...]) -> Array:
    gx = empty(x_shape, gy.dtype)
    _scatter_all(gx.size, _flat_planes(gy), _flat_planes(index), _flat_planes(gx))
    return gx


@for_floats
def pool_gather(x: Array, index: Array) -> Array:
    y = np.empty(index.shape, x.dtype)
    _gather_all(y.size, _flat_planes(x), _flat_planes(index), _flat_planes(y))
    return y


@for_floats
def avg_pool2d(x: Array, windows: Windows, divisor: Array) -> Array:
    y = np.empty((*x.shape[:2], *divisor.shape), x.dtype)
    if _are_quads(windows, x.shape[2:]) and _one_number(divisor):
        _sum_quads(x.size, _lines(x), x.dtype.type(divisor[0, 0]), _lines(y))
        return y
    if _is_whole(windows, x.shape[2:]):
        n, c, h, w = x.shape
        return np.divide(axis_sum(x.reshape(n * c, h * w, 1)).reshape(y.shape), divisor, y)
    _sum_all(x.size, _planes(x), *_bounds(windows), np.ascontiguousarray(divisor, x.dtype), _planes(y))
    return y


@for_floats
def avg_pool2d_grad(gy: Array, windows: Windows, divisor: Array, x_shape: tuple[int, ...]) -> Array:
    gx = np.empty(x_shape, gy.dtype)
    if _are_quads(windows, x_shape[2:]) and _one_number(divisor):
        _spread_quads(gx.size, _lines(gy), gy.dtype.type(divisor[0, 0]), _lines(gx))
        return gx
    if _is_whole(windows, x_shape[2:]):
        _fill_all(gx.size, (gy / divisor).reshape(-1), _flat_planes(gx))
        return gx
    _spread_all(gx.size, _planes(gy), *_bounds(windows), np.ascontiguousarray(divisor, gy.dtype), _planes(gx))
    return gx


# -- activation and average, as one pass over memory -----------------------------------------------------------------

def _activating(element: Callable) -> Callable:
    @threaded
    def loop(thread, x, divisor, a, y):
        for job in jobs_of(thread, (y.shape[0] + ROWS - 1) // ROWS):
            first, last = job * ROWS, min((job + 1) * ROWS, y.shape[0])
            part, out = x[2 * first:2 * last].reshape(-1), a[2 * first:2 * last].reshape(-1)
            for i in range(part.size):
                out[i] = element(part[i], ())
            _sum_rows(a[2 * first:2 * last], divisor, y[first:last])

    return loop


def _deactivating(gradient: Callable) -> Callable:
    @threaded
    def loop(thread, gy, divisor, a, gx):
        for job in jobs_of(thread, (gy.shape[0] + ROWS - 1) // ROWS):
            first, last = job * ROWS, min((job + 1) * ROWS, gy.shape[0])
            _spread_rows(gy[first:last], divisor, gx[2 * first:2 * last])
            part, out = a[2 * first:2 * last].reshape(-1), gx[2 * first:2 * last].reshape(-1)
            for i in range(part.size):
                out[i] = gradient(out[i], part[i], ())

    return loop


_LOOPS = {name: (_activating(element), _deactivating(gradient)) for name, element, gradient in
          (("relu", elementwise._relu, elementwise._relu_grad), ("tanh", elementwise._tanh, elementwise._tanh_grad),
           ("sigmoid", elementwise._sigmoid, elementwise._sigmoid_grad))}


@for_floats
def activated_avg_pool2d(x: Array, activation: str, windows: Windows, divisor: Array) -> tuple[Array, Array]:
    if not _are_quads(windows, x.shape[2:]) or not _one_number(divisor):
        a = getattr(elementwise, activation)(x)
        return avg_pool2d(a, windows, divisor), a
    y, a = np.empty((*x.shape[:2], *divisor.shape), x.dtype), np.empty(x.shape, x.dtype)
    _LOOPS[activation][0](x.size, _lines(x), x.dtype.type(divisor[0, 0]), _lines(a), _lines(y))
    return y, a


@for_floats
def activated_avg_pool2d_grad(gy: Array, a: Array, activation: str, windows: Windows, divisor: Array) -> Array:
    if not _are_quads(windows, a.shape[2:]) or not _one_number(divisor):
        return getattr(elementwise, activation + "_grad")(avg_pool2d_grad(gy, windows, divisor, a.shape), a)
    gx = np.empty(a.shape, gy.dtype)
    _LOOPS[activation][1](gx.size, _lines(gy), gy.dtype.type(divisor[0, 0]), _lines(a), _lines(gx))
    return gx
