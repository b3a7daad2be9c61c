"""Group, layer and root-mean-square normalisation: each row, the (K, L) numbers of a group, is fetched once.

A vector runs along L, or along K where L is 1 (layer normalisation). A job is a few rows; its sums for gw and gb are
one row of an array (jobs, G, K), added up at the end. Means are float64: what is left of one when it is rounded to the
type of x goes into the constant that is added anyway.
"""

import numpy as np

from ..contract import Array
from .normalisation import PIECE, _row_moments, _row_products
from .support import CHUNK, for_floats, inlined, regrouped_sum
from .threads import jobs_of, threaded


@inlined
def _normalise(x, w, b, eps, centred, y, mean, inv_std, start, stop):
    real, length = x.dtype.type, x.shape[1] * x.shape[2]
    for row in range(start, stop):
        v, out, group = x[row].reshape(length), y[row].reshape(length), row % w.shape[0]
        pivot = np.float64(v[0]) if centred else 0.0
        first, second = _row_moments(v, pivot)
        first = first / length if centred else 0.0
        mean[row] = pivot + first
        inv_std[row] = 1 / np.sqrt(max(second / length - first * first, 0.0) + eps)
        centre, scale = real(mean[row]), real(inv_std[row])
        rest = real((centre - mean[row]) * inv_std[row])
        if x.shape[2] == 1:
            for k in range(x.shape[1]):
                out[k] = ((v[k] - centre) * scale + rest) * w[group, k] + b[group, k]
        else:
            for k in range(x.shape[1]):
                slope, shift = scale * w[group, k], rest * w[group, k] + b[group, k]
                part = slice(k * x.shape[2], (k + 1) * x.shape[2])
                channel, result = v[part], out[part]
                for i in range(channel.size):
                    result[i] = (channel[i] - centre) * slope + shift


@regrouped_sum
def _weighted_products(gy, x, w, centre, scale, rest):
    total = product = x.dtype.type(0)
    for k in range(gy.size):
        g = gy[k] * w[k]
        total += g
        product += g * ((x[k] - centre) * scale + rest)
    return np.float64(total), np.float64(product)


@inlined
def _along_channels(gy, x, w, centre, scale, rest, centred, gx, gw, gb):
    real, total, product = x.dtype.type, 0.0, 0.0
    for start in range(0, x.size, PIECE):
        part = slice(start, start + PIECE)
        a, c = _weighted_products(gy[part], x[part], w[part], centre, scale, rest)
        total, product = total + a, product + c
    level, slope = real(total / x.size if centred else 0.0), real(product / x.size)
    for k in range(x.size):  # two loops: LLVM has to check that no array that is written overlaps another
        gx[k] = scale * (gy[k] * w[k] - level - ((x[k] - centre) * scale + rest) * slope)
    for k in range(x.size):
        gw[k] += gy[k] * ((x[k] - centre) * scale + rest)
        gb[k] += gy[k]


@inlined
def _along_length(gy, x, w, centre, scale, rest, centred, gx, gw, gb):
    real, total, product = x.dtype.type, 0.0, 0.0
    for k in range(x.shape[0]):
        a, c = _row_products(gy[k], x[k], centre, gy[k], real(np.nan))  # nothing is rectified
        c = c * scale + a * rest
        total, product = total + a * w[k], product + c * w[k]
        gw[k] += real(c)
        gb[k] += real(a)
    level, slope = real(total / x.size if centred else 0.0), real(product / x.size)
    for k in range(x.shape[0]):
        g, channel, result = gy[k], x[k], gx[k]
        for i in range(channel.size):
            result[i] = scale * (g[i] * w[k] - level - ((channel[i] - centre) * scale + rest) * slope)


@inlined
def _grad(gy, x, mean, inv_std, w, centred, gx, gw, gb, start, stop):
    real = x.dtype.type
    for row in range(start, stop):
        group, centre, scale = row % w.shape[0], real(mean[row]), real(inv_std[row])
        rest = real((centre - mean[row]) * inv_std[row])
        if x.shape[2] == 1:
            k = x.shape[1]
            _along_channels(gy[row].reshape(k), x[row].reshape(k), w[group], centre, scale, rest, centred,
                            gx[row].reshape(k), gw[group], gb[group])
        else:
            _along_length(gy[row], x[row], w[group], centre, scale, rest, centred, gx[row], gw[group], gb[group])


@threaded
def _normalise_all(thread, x, w, b, eps, centred, y, mean, inv_std, rows):
    for job in jobs_of(thread, (x.shape[0] + rows - 1) // rows):
        _normalise(x, w, b, eps, centred, y, mean, inv_std, job * rows, min(x.shape[0], (job + 1) * rows))


@threaded
def _grad_all(thread, gy, x, mean, inv_std, w, centred, gx, gw, gb, rows):
    for job in jobs_of(thread, gw.shape[0]):
        _grad(gy, x, mean, inv_std, w, centred, gx, gw[job], gb[job], job * rows, min(x.shape[0], (job + 1) * rows))


def _prepared(x: Array, w: Array | None, b: Array | None) -> tuple[Array, Array, Array, int]:
    """x as (R, K, L), w and b, and how many rows make a job; its sums are in the type of x, so they are few."""
    n, groups, channels, length = x.shape
    rows = np.ascontiguousarray(x).reshape(n * groups, channels, length)
    w, b = [np.full((groups, channels), fill, x.dtype) if a is None else np.ascontiguousarray(a)
            for a, fill in ((w, 1), (b, 0))]
    return rows, w, b, min(64, 1 + 2 * CHUNK // (channels * length + 1))


@for_floats
def group_norm(x: Array, w: Array | None, b: Array | None, eps: float,
               centred: bool = True) -> tuple[Array, Array, Array]:
    shape = x.shape
    x, w, b, rows = _prepared(x, w, b)
    y, mean, inv_std = np.empty_like(x), np.empty(len(x)), np.empty(len(x))
    if x.size:
        _normalise_all(x.size, x, w, b, float(eps), bool(centred), y, mean, inv_std, rows)
    return y.reshape(shape), mean.reshape(shape[:2]), inv_std.reshape(shape[:2])


@for_floats
def group_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None,
                    centred: bool = True) -> tuple[Array, Array, Array]:
    shape = x.shape
    x, w, _, rows = _prepared(x, w, None)
    gx, jobs = np.empty_like(x), -(-len(x) // rows)
    gw, gb = np.zeros((jobs, *w.shape), x.dtype), np.zeros((jobs, *w.shape), x.dtype)
    if x.size:
        _grad_all(x.size, np.ascontiguousarray(gy).reshape(x.shape), x, mean.reshape(-1), inv_std.reshape(-1), w,
                  bool(centred), gx, gw, gb, rows)
    return gx.reshape(shape), *[a.sum(0, dtype=np.float64).astype(x.dtype) for a in (gw, gb)]
