"""Batch normalisation of flat features, (N, C): what lies together are the channels, so vectors run across them.

A job is a few rows. Its sums over them are one row of an array (jobs, C), added up at the end.
"""

import numpy as np

from ..contract import Array
from .support import CHUNK, formula, inlined
from .threads import jobs_of, threaded

PIECE = 256  # rows summed in their own type before float64 takes over


@inlined
def _moments(x, pivot, first, second):
    for n in range(x.shape[0]):
        row = x[n]
        for c in range(row.size):
            d = row[c] - pivot[c]
            first[c] += d
            second[c] += d * d


@inlined
def _normalise(x, mean, scale, shift, y):
    for n in range(x.shape[0]):
        row, out = x[n], y[n]
        for c in range(row.size):
            out[c] = (row[c] - mean[c]) * scale[c] + shift[c]


@inlined
def _products(gy, x, mean, product, total):
    a, b = np.empty_like(mean), np.empty_like(mean)
    for start in range(0, x.shape[0], PIECE):
        a[:] = 0
        b[:] = 0
        for n in range(start, min(start + PIECE, x.shape[0])):
            g, row = gy[n], x[n]
            for c in range(row.size):
                a[c] += g[c] * (row[c] - mean[c])
                b[c] += g[c]
        for c in range(a.size):
            product[c] += a[c]
            total[c] += b[c]


@formula
def input_grad(g, x, mean, scale, level, slope):
    """The gradient of an element that g comes back to: what the mean and the variance take of it is taken off."""
    return scale * (g - level - (x - mean) * slope)


@inlined
def _grad(gy, x, mean, scale, level, slope, gx):
    for n in range(x.shape[0]):
        g, row, out = gy[n], x[n], gx[n]
        for c in range(row.size):
            out[c] = input_grad(g[c], row[c], mean[c], scale[c], level[c], slope[c])


@formula
def _rows_per_job(x):
    return 1 + CHUNK // (x.shape[1] + 1)


@threaded
def _moments_all(thread, x, pivot, first, second):
    rows = _rows_per_job(x)
    for job in jobs_of(thread, first.shape[0]):
        _moments(x[job * rows:(job + 1) * rows], pivot, first[job], second[job])


@threaded
def _normalise_all(thread, x, mean, scale, shift, y):
    rows = _rows_per_job(x)
    for job in jobs_of(thread, (x.shape[0] + rows - 1) // rows):
        a, b = job * rows, (job + 1) * rows
        _normalise(x[a:b], mean, scale, shift, y[a:b])


@threaded
def _products_all(thread, gy, x, mean, product, total):
    rows = _rows_per_job(x)
    for job in jobs_of(thread, total.shape[0]):
        a, b = job * rows, (job + 1) * rows
        _products(gy[a:b], x[a:b], mean, product[job], total[job])


@threaded
def _grad_all(thread, gy, x, mean, scale, level, slope, gx):
    rows = _rows_per_job(x)
    for job in jobs_of(thread, (x.shape[0] + rows - 1) // rows):
        a, b = job * rows, (job + 1) * rows
        _grad(gy[a:b], x[a:b], mean, scale, level, slope, gx[a:b])


def _sums(x: Array) -> tuple[Array, Array]:
    """Two sums per channel for every job, 0 so far."""
    jobs = -(-len(x) // _rows_per_job(x))
    return np.zeros((jobs, x.shape[1])), np.zeros((jobs, x.shape[1]))


def moments(x: Array, pivot: Array) -> tuple[Array, Array]:
    """Σ (x − pivot) and Σ (x − pivot)² per channel."""
    first, second = _sums(x)
    _moments_all(x.size, x, pivot, first, second)
    return first.sum(0), second.sum(0)


def normalise(x: Array, mean: Array, scale: Array, shift: Array) -> Array:
    """(x − mean)·scale + shift."""
    y = np.empty_like(x)
    _normalise_all(x.size, x, mean, scale, shift, y)
    return y


def gradients(gy: Array, x: Array, mean: Array, inv_std: Array, scale: Array,
              training: bool) -> tuple[Array, Array, Array]:
    """gx, gw and gb, as batch_norm_grad says."""
    product, total = _sums(x)
    _products_all(x.size, gy, x, mean, product, total)
    gw, gb = product.sum(0) * inv_std, total.sum(0)
    if not training:  # whatever x is
        zeros = np.zeros_like(mean)
        return normalise(gy, zeros, scale, zeros), gw, gb
    part = 1 / max(len(x), 1)
    gx = np.empty_like(x)
    _grad_all(x.size, gy, x, mean, scale, (gb * part).astype(x.dtype), (gw * inv_std * part).astype(x.dtype), gx)
    return gx, gw, gb
