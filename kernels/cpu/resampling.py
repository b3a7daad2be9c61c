"""Weighted sums of chosen elements, plane by plane.

Along an axis with others behind it, whole lines are added up, which are vector instructions; along the last axis, and
where every output has places of its own, outputs gather their elements one by one.
"""

import numpy as np

from ..contract import Array
from .support import for_floats, inlined
from .threads import jobs_of, threaded


@inlined
def _add_lines(x, start, index, weight, y):
    for i in range(y.shape[0]):
        line = y[i]
        line[:] = 0
        for t in range(start[i], start[i + 1]):
            w, source = weight[t], x[index[t]]
            for b in range(line.size):
                line[b] += w * source[b]


@inlined
def _gather_line(x, start, index, weight, y):
    for i in range(y.size):
        total = y.dtype.type(0)
        for t in range(start[i], start[i + 1]):
            total += weight[t] * x[index[t]]
        y[i] = total


@threaded
def _resample_lines(thread, x, start, index, weight, y):
    for a in jobs_of(thread, x.shape[0]):
        _add_lines(x[a], start, index, weight, y[a])


@threaded
def _resample_last(thread, x, start, index, weight, y):
    for a in jobs_of(thread, x.shape[0]):
        _gather_line(x[a], start, index, weight, y[a])


@for_floats
def resample(x: Array, start: Array, index: Array, weight: Array) -> Array:
    y = np.empty((len(x), len(start) - 1, x.shape[2]), x.dtype)
    x, weight = np.ascontiguousarray(x), weight.astype(x.dtype)
    if x.shape[2] == 1:
        _resample_last(y.size, x[:, :, 0], start, index, weight, y[:, :, 0])
    else:
        _resample_lines(y.size, x, start, index, weight, y)
    return y


@inlined
def _sample_plane(x, index, w, y):
    y[:] = 0
    for k in range(w.shape[0]):
        for p in range(y.size):
            at = index[k, p]
            y[p] += w[k, p] * (x[at] if at >= 0 else y.dtype.type(0))


@inlined
def _scatter_plane(gy, index, w, gx):
    gx[:] = 0
    for k in range(w.shape[0]):
        for p in range(gy.size):
            at = index[k, p]
            if at >= 0:
                gx[at] += w[k, p] * gy[p]


@inlined
def _weigh_image(x, index, gy, gw):
    gw[:] = 0
    for c in range(x.shape[0]):
        for k in range(gw.shape[0]):
            for p in range(gw.shape[1]):
                at = index[k, p]
                gw[k, p] += gy[c, p] * (x[c, at] if at >= 0 else gw.dtype.type(0))


@threaded
def _sample_all(thread, x, channels, index, w, y):
    for i in jobs_of(thread, x.shape[0]):
        n = i // channels
        _sample_plane(x[i], index[n], w[n], y[i])


@threaded
def _scatter_all(thread, gy, channels, index, w, gx):
    for i in jobs_of(thread, gy.shape[0]):
        n = i // channels
        _scatter_plane(gy[i], index[n], w[n], gx[i])


@threaded
def _weigh_all(thread, x, index, gy, gw):
    for n in jobs_of(thread, x.shape[0]):
        _weigh_image(x[n], index[n], gy[n], gw[n])


def _planes(x: Array) -> Array:
    n, c, length = x.shape
    return np.ascontiguousarray(x).reshape(n * c, length)


@for_floats
def sample(x: Array, index: Array, w: Array) -> Array:
    y = np.empty((*x.shape[:2], w.shape[2]), x.dtype)
    _sample_all(y.size, _planes(x), x.shape[1], np.ascontiguousarray(index), np.ascontiguousarray(w), _planes(y))
    return y


@for_floats
def sample_input_grad(gy: Array, index: Array, w: Array, length: int) -> Array:
    gx = np.empty((*gy.shape[:2], length), gy.dtype)
    _scatter_all(gy.size, _planes(gy), gy.shape[1], np.ascontiguousarray(index), np.ascontiguousarray(w), _planes(gx))
    return gx


@for_floats
def sample_weight_grad(x: Array, index: Array, gy: Array) -> Array:
    gw = np.empty(index.shape, x.dtype)
    _weigh_all(gy.size, np.ascontiguousarray(x), np.ascontiguousarray(index), np.ascontiguousarray(gy), gw)
    return gw
