"""Softmax and its relatives.

Where the K numbers lie together (L = 1) a vector runs along them, one row after the other; else it runs across L, over
strips of columns narrow enough to stay in the cache from the first pass to the last. Sums run in float64.
"""

from math import log

import llvmlite.ir as ir
import numpy as np
from numba.extending import intrinsic

from ..contract import Array
from .exponential import exp
from .support import CHUNK, for_floats, inlined, regrouped_sum
from .threads import jobs_of, threaded

STRIP = 256  # columns of one job


@intrinsic
def maximum(typing_context, a, b):
    """The larger of two numbers, NaN if either is: LLVM's own, which it knows how to turn into vector code."""
    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        function = builder.module.declare_intrinsic("llvm.maximum", (kind,), ir.FunctionType(kind, (kind, kind)))
        return builder.call(function, arguments, fastmath=("nsz",))

    return a(a, b), generate


@regrouped_sum
def _largest(v):
    top = v[0]
    for k in range(1, v.size):
        top = maximum(top, v[k])
    return top


@regrouped_sum
def _total(v):
    total = 0.0
    for k in range(v.size):
        total += v[k]
    return total


@regrouped_sum
def _dot(a, b):
    total = 0.0
    for k in range(a.size):
        total += np.float64(a[k]) * np.float64(b[k])
    return total


@inlined
def _exp_row(x, e):
    """e ← e^(x − max x); max x and Σ e."""
    top = _largest(x)
    for k in range(x.size):
        e[k] = exp(x[k] - top)
    return top, _total(e)


@inlined
def _scale_row(y, factor):
    for k in range(y.size):
        y[k] *= factor


@inlined
def _rows(x, y, logarithm):
    for r in range(x.shape[0]):
        top, total = _exp_row(x[r], y[r])
        if logarithm:
            shift = x.dtype.type(log(total))
            for k in range(x.shape[1]):
                y[r, k] = x[r, k] - top - shift
        else:
            _scale_row(y[r], x.dtype.type(1 / total))


@inlined
def _rows_grad(gy, y, gx, logarithm):
    for r in range(gy.shape[0]):
        if logarithm:
            total = gy.dtype.type(_total(gy[r]))
            for k in range(gy.shape[1]):
                gx[r, k] = gy[r, k] - exp(y[r, k]) * total
        else:
            total = gy.dtype.type(_dot(gy[r], y[r]))
            for k in range(gy.shape[1]):
                gx[r, k] = y[r, k] * (gy[r, k] - total)


@inlined
def _columns(x, y, start, stop, logarithm):
    top, total = x[0][start:stop].copy(), np.zeros(stop - start)
    for k in range(1, x.shape[0]):
        row = x[k][start:stop]
        for i in range(row.size):
            top[i] = maximum(top[i], row[i])
    for k in range(x.shape[0]):
        row, out = x[k][start:stop], y[k][start:stop]
        for i in range(row.size):
            e = exp(row[i] - top[i])
            out[i] = e
            total[i] += e
    for i in range(total.size):
        total[i] = log(total[i]) if logarithm else 1 / total[i]
    last = total.astype(x.dtype)
    for k in range(x.shape[0]):
        row, out = x[k][start:stop], y[k][start:stop]
        for i in range(row.size):
            out[i] = row[i] - top[i] - last[i] if logarithm else out[i] * last[i]


@inlined
def _columns_grad(gy, y, gx, start, stop, logarithm):
    total = np.zeros(stop - start)
    for k in range(y.shape[0]):
        g, out = gy[k][start:stop], y[k][start:stop]
        for i in range(g.size):
            total[i] += g[i] if logarithm else g[i] * out[i]
    last = total.astype(gy.dtype)
    for k in range(y.shape[0]):
        g, out, into = gy[k][start:stop], y[k][start:stop], gx[k][start:stop]
        for i in range(g.size):
            into[i] = g[i] - exp(out[i]) * last[i] if logarithm else out[i] * (g[i] - last[i])


@inlined
def _cross_entropy(x, target, loss, p):
    for r in range(x.shape[0]):
        top, total = _exp_row(x[r], p[r])
        _scale_row(p[r], x.dtype.type(1 / total))
        counted = 0 <= target[r] < x.shape[1]
        loss[r] = log(total) - (x[r, target[r]] - top) if counted else 0


@inlined
def _cross_entropy_grad(gy, p, target, gx):
    for r in range(p.shape[0]):
        counted = 0 <= target[r] < p.shape[1]
        for k in range(p.shape[1]):
            gx[r, k] = gy[r] * p[r, k] if counted else 0
        if counted:
            gx[r, target[r]] = gy[r] * (p[r, target[r]] - 1)


@inlined
def _rows_per_job(x):
    return 1 + CHUNK // (x.shape[1] + 1)


@threaded
def _rows_all(thread, x, y, logarithm):
    rows = _rows_per_job(x)
    for job in jobs_of(thread, (x.shape[0] + rows - 1) // rows):
        a, b = job * rows, (job + 1) * rows
        _rows(x[a:b], y[a:b], logarithm)


@threaded
def _rows_grad_all(thread, gy, y, gx, logarithm):
    rows = _rows_per_job(y)
    for job in jobs_of(thread, (y.shape[0] + rows - 1) // rows):
        a, b = job * rows, (job + 1) * rows
        _rows_grad(gy[a:b], y[a:b], gx[a:b], logarithm)


@threaded
def _columns_all(thread, x, y, logarithm):
    columns = x.shape[2]
    strips = (columns + STRIP - 1) // STRIP
    for job in jobs_of(thread, x.shape[0] * strips):
        m, start = job // strips, job % strips * STRIP
        _columns(x[m], y[m], start, min(columns, start + STRIP), logarithm)


@threaded
def _columns_grad_all(thread, gy, y, gx, logarithm):
    columns = y.shape[2]
    strips = (columns + STRIP - 1) // STRIP
    for job in jobs_of(thread, y.shape[0] * strips):
        m, start = job // strips, job % strips * STRIP
        _columns_grad(gy[m], y[m], gx[m], start, min(columns, start + STRIP), logarithm)


@threaded
def _cross_entropy_all(thread, x, target, loss, p):
    rows = _rows_per_job(x)
    for job in jobs_of(thread, (x.shape[0] + rows - 1) // rows):
        a, b = job * rows, (job + 1) * rows
        _cross_entropy(x[a:b], target[a:b], loss[a:b], p[a:b])


@threaded
def _cross_entropy_grad_all(thread, gy, p, target, gx):
    rows = _rows_per_job(p)
    for job in jobs_of(thread, (p.shape[0] + rows - 1) // rows):
        a, b = job * rows, (job + 1) * rows
        _cross_entropy_grad(gy[a:b], p[a:b], target[a:b], gx[a:b])


def _forward(x: Array, logarithm: bool) -> Array:
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    if x.shape[2] == 1:
        _rows_all(x.size, x[:, :, 0], y[:, :, 0], logarithm)
    else:
        _columns_all(x.size, x, y, logarithm)
    return y


def _backward(gy: Array, y: Array, logarithm: bool) -> Array:
    gy, y = np.ascontiguousarray(gy), np.ascontiguousarray(y)
    gx = np.empty_like(gy)
    if y.shape[2] == 1:
        _rows_grad_all(y.size, gy[:, :, 0], y[:, :, 0], gx[:, :, 0], logarithm)
    else:
        _columns_grad_all(y.size, gy, y, gx, logarithm)
    return gx


@for_floats
def softmax(x: Array) -> Array:
    return _forward(x, False)


@for_floats
def softmax_grad(gy: Array, y: Array) -> Array:
    return _backward(gy, y, False)


@for_floats
def log_softmax(x: Array) -> Array:
    return _forward(x, True)


@for_floats
def log_softmax_grad(gy: Array, y: Array) -> Array:
    return _backward(gy, y, True)


@for_floats
def cross_entropy(x: Array, target: Array) -> tuple[Array, Array]:
    loss, p = np.empty(x.shape[0], x.dtype), np.empty(x.shape, x.dtype)
    _cross_entropy_all(x.size, np.ascontiguousarray(x), np.ascontiguousarray(target), loss, p)
    return loss, p


@for_floats
def cross_entropy_grad(gy: Array, p: Array, target: Array) -> Array:
    gx = np.empty(p.shape, p.dtype)
    _cross_entropy_grad_all(p.size, np.ascontiguousarray(gy), np.ascontiguousarray(p), np.ascontiguousarray(target), gx)
    return gx
