"""Batch normalisation and sums per channel.

A job is some neighbouring channels over the whole batch, so that every sum is made by one thread in one order; for the
gradient it is so few that the second pass finds them still in the cache. Long sums run in float64. Where L is 1 all
this would be slow, and channels may be few: flat_normalisation.py, which cuts by rows, is for that.
"""

from math import isfinite

import numpy as np

from .. import reference
from ..contract import Array
from . import flat_normalisation
from .elementwise import ZERO, relu, relu_grad
from .flat_normalisation import input_grad
from .memory import empty
from .support import CHUNK, for_floats, formula, inlined, regrouped_sum
from .threads import jobs_of, threaded

PIECE = 256  # elements summed in their own type before float64 takes over: a few per vector lane
RUN = 64  # elements side by side (channels of a job times L) that keep cache lines and vectors busy
BLOCK = 1 << 16  # elements of a job that goes through them twice, all of which stay in the cache
JOBS = 16  # of those, at least


@regrouped_sum
def _piece_sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@inlined
def _row_sum(x):
    total = np.float64(_piece_sum(x[:PIECE]))
    for start in range(PIECE, x.size, PIECE):
        total += _piece_sum(x[start:start + PIECE])
    return total


@regrouped_sum
def _row_moments(x, pivot):
    first = second = 0.0
    for i in range(x.size):
        d = x[i] - pivot
        first += d
        second += d * d
    return first, second


@formula
def _passed(gy, y, limit):
    """gy where y is above the limit: 0 after a rectifier; NaN lets everything through, without a branch in the loop."""
    return ZERO if y <= limit else gy


@regrouped_sum
def _piece_products(gy, x, mean, y, limit):
    total = product = x.dtype.type(0)
    for i in range(gy.size):
        g = _passed(gy[i], y[i], limit)
        total += g
        product += g * (x[i] - mean)
    return np.float64(total), np.float64(product)


@inlined
def _row_products(gy, x, mean, y, limit):
    total, product = _piece_products(gy[:PIECE], x[:PIECE], mean, y[:PIECE], limit)
    for start in range(PIECE, gy.size, PIECE):
        stop = start + PIECE
        a, b = _piece_products(gy[start:stop], x[start:stop], mean, y[start:stop], limit)
        total, product = total + a, product + b
    return total, product


@inlined
def _sums(x, total, start, stop):
    for n in range(x.shape[0]):
        if x.shape[2] == 1:  # across the channels, which are what lies together
            for c in range(start, stop):
                total[c] += x[n, c, 0]
        else:
            for c in range(start, stop):
                total[c] += _row_sum(x[n, c])


@formula
def _settled(pivot, first, second, m):
    """Mean and variance of m numbers, from the sums of their deviations and of the squares of those.

    The pivot, which they deviate from, is one of them, about as far from the mean as any other. So the square of the
    sum taken off the sum of squares is of its own size, however large the mean.
    """
    first = first / m
    return pivot + first, np.maximum(second / m - first * first, 0.0)


@inlined
def _moments(x, eps, mean, var, inv_std, start, stop):
    pivot, first, second, real = np.zeros(stop - start), np.zeros(stop - start), np.zeros(stop - start), x.dtype.type
    for c in range(start, stop):
        if isfinite(x[0, c, 0]):  # ∞ − ∞ would make a NaN of the mean
            pivot[c - start] = x[0, c, 0]
    for n in range(x.shape[0]):
        for c in range(start, stop):
            a, b = _row_moments(x[n, c], pivot[c - start])
            first[c - start] += a
            second[c - start] += b
    for c in range(start, stop):
        i, m = c - start, x.shape[0] * x.shape[2]
        mean[c], var[c] = _settled(pivot[i], first[i], second[i], m)
        inv_std[c] = real(1) / np.sqrt(var[c] + real(eps))


@inlined
def _normalise(x, mean, scale, shift, rectify, y, start, stop):
    for row in range(start, stop):
        c = row % mean.size
        for i in range(x.shape[1]):
            v = (x[row, i] - mean[c]) * scale[c] + shift[c]
            y[row, i] = ZERO if rectify and v <= ZERO else v


@inlined
def _grad(gy, x, mean, inv_std, scale, training, y, limit, gx, gw, gb, start, stop):
    real = x.dtype.type
    for n in range(x.shape[0]):
        for c in range(start, stop):
            total, product = _row_products(gy[n, c], x[n, c], mean[c], y[n, c], limit)
            gb[c] += total
            gw[c] += product * inv_std[c]
    m = x.shape[0] * x.shape[2]
    for n in range(x.shape[0] - 1, -1, -1):  # what was read last is nearest
        for c in range(start, stop):
            mu, k = mean[c], scale[c]
            if training:
                level, slope = real(gb[c] / m), real(inv_std[c] * gw[c] / m)
                for i in range(x.shape[2]):
                    gx[n, c, i] = input_grad(_passed(gy[n, c, i], y[n, c, i], limit), x[n, c, i], mu, k, level, slope)
            else:  # whatever x is
                for i in range(x.shape[2]):
                    gx[n, c, i] = k * _passed(gy[n, c, i], y[n, c, i], limit)


@inlined
def _repeated(values, times):
    """Each value so many times."""
    out = np.empty(values.size * times, values.dtype)
    for c in range(values.size):
        out[c * times:(c + 1) * times] = values[c]
    return out


@inlined
def _add_products(gy, x, mean, y, limit, total, product):
    for i in range(total.size):
        g = _passed(gy[i], y[i], limit)
        total[i] += g
        product[i] += g * (x[i] - mean[i])


@inlined
def _input_grads(gy, x, mean, scale, training, level, slope, y, limit, gx):
    if training:
        for i in range(gx.size):
            gx[i] = input_grad(_passed(gy[i], y[i], limit), x[i], mean[i], scale[i], level[i], slope[i])
    else:
        for i in range(gx.size):
            gx[i] = scale[i] * _passed(gy[i], y[i], limit)


@inlined
def _grad_across(rows, mean, inv_std, scale, training, limit, gw, gb, start, stop):
    """The same where rows are too short to fill vectors: these run across the channels.  Rows (N, C·L) of four."""
    gy, x, y, gx = rows
    real, length, m = x.dtype.type, x.shape[1] // mean.size, x.size // mean.size
    first, last = start * length, stop * length
    center, total, product = _repeated(mean[start:stop], length), np.zeros(last - first), np.zeros(last - first)
    for n in range(x.shape[0]):
        _add_products(gy[n, first:last], x[n, first:last], center, y[n, first:last], limit, total, product)
    level, slope = np.empty(stop - start, x.dtype), np.empty(stop - start, x.dtype)
    for c in range(start, stop):
        some = slice((c - start) * length, (c - start + 1) * length)
        gb[c], gw[c] = total[some].sum(), product[some].sum() * inv_std[c]
        level[c - start], slope[c - start] = real(gb[c] / m), real(inv_std[c] * gw[c] / m)
    k, level, slope = _repeated(scale[start:stop], length), _repeated(level, length), _repeated(slope, length)
    for n in range(x.shape[0] - 1, -1, -1):
        _input_grads(gy[n, first:last], x[n, first:last], center, k, training, level, slope, y[n, first:last], limit,
                     gx[n, first:last])


@threaded
def _sums_all(thread, x, total):
    channels = jobs_of(thread, x.shape[1])  # all at once, in the order that memory has
    _sums(x, total, channels.start, channels.stop)


@threaded
def _moments_all(thread, x, eps, mean, var, inv_std):
    channels = jobs_of(thread, x.shape[1])
    _moments(x, eps, mean, var, inv_std, channels.start, channels.stop)


@threaded
def _normalise_all(thread, x, mean, scale, shift, rectify, y):
    rows = x.shape[0]
    block = 1 + CHUNK // (x.shape[1] + 1)
    for job in jobs_of(thread, (rows + block - 1) // block):
        _normalise(x, mean, scale, shift, rectify, y, job * block, min(rows, (job + 1) * block))


@threaded
def _grad_all(thread, gy, x, mean, inv_std, scale, training, y, limit, gx, gw, gb):
    channels = x.shape[1]
    block = max(1, RUN // max(1, x.shape[2]), min(BLOCK // max(1, x.shape[0] * x.shape[2]), channels // JOBS))
    flat = x.shape[0], x.shape[1] * x.shape[2]
    rows = gy.reshape(flat), x.reshape(flat), y.reshape(flat), gx.reshape(flat)
    for job in jobs_of(thread, (channels + block - 1) // block):
        start, stop = job * block, min(channels, (job + 1) * block)
        if x.shape[2] < RUN:
            _grad_across(rows, mean, inv_std, scale, training, limit, gw, gb, start, stop)
        else:
            _grad(gy, x, mean, inv_std, scale, training, y, limit, gx, gw, gb, start, stop)


@for_floats
def channel_sum(x: Array) -> Array:
    total = np.zeros(x.shape[1])
    _sums_all(x.size, np.ascontiguousarray(x), total)
    return total.astype(x.dtype)


@for_floats
def batch_norm_stats(x: Array, eps: float) -> tuple[Array, Array, Array]:
    x = np.ascontiguousarray(x)
    if not x.size:
        return reference.batch_norm_stats(x, eps)
    if x.shape[2] == 1:
        pivot = np.nan_to_num(x[0, :, 0].astype(np.float64), nan=0, posinf=0, neginf=0)
        sums = flat_normalisation.moments(x[:, :, 0], pivot)
        mean, var = [a.astype(x.dtype) for a in _settled(pivot, *sums, len(x))]
        return mean, var, 1 / np.sqrt(var + x.dtype.type(eps))
    mean, var, inv_std = [np.empty(x.shape[1], x.dtype) for _ in range(3)]
    _moments_all(x.size, x, float(eps), mean, var, inv_std)
    return mean, var, inv_std


@for_floats
def batch_norm(x: Array, mean: Array, inv_std: Array, w: Array | None, b: Array | None,
               rectify: bool = False) -> Array:
    x = np.ascontiguousarray(x)
    n, c, length = x.shape
    mean, scale = np.ascontiguousarray(mean), np.ascontiguousarray(inv_std if w is None else inv_std * w)
    shift = np.zeros_like(mean) if b is None else np.ascontiguousarray(b)
    if length == 1:
        y = flat_normalisation.normalise(x[:, :, 0], mean, scale, shift)[:, :, None]
        return relu(y) if rectify else y
    y = empty(x.shape, x.dtype)
    _normalise_all(x.size, x.reshape(n * c, length), mean, scale, shift, bool(rectify), y.reshape(n * c, length))
    return y


@for_floats
def batch_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None, training: bool,
                    y: Array | None = None) -> tuple[Array, Array, Array]:
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    mean, inv_std = np.ascontiguousarray(mean), np.ascontiguousarray(inv_std)
    scale = np.ascontiguousarray(inv_std if w is None else inv_std * w)
    if x.shape[2] == 1:
        gy = gy if y is None else relu_grad(gy, y)
        gx, gw, gb = flat_normalisation.gradients(gy[:, :, 0], x[:, :, 0], mean, inv_std, scale, training)
        gx = gx[:, :, None]
    else:
        gx, gw, gb = empty(x.shape, x.dtype), np.zeros(x.shape[1]), np.zeros(x.shape[1])
        y, limit = (gy, x.dtype.type(np.nan)) if y is None else (np.ascontiguousarray(y), x.dtype.type(0))
        _grad_all(x.size, gy, x, mean, inv_std, scale, bool(training), y, limit, gx, gw, gb)
    return gx, gw.astype(x.dtype), gb.astype(x.dtype)
