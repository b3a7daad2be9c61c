"""Sums along an axis, cut into parts that depend on the shape alone, each added up in float64, and then their sums.

x is (M, K, L). Where the K numbers lie together (L = 1) a part is a piece of a row, or some short rows; else it is a
block of K by a strip of L, and a vector runs along the strip:

        L ─────────────────────▶
    K   ┌──────────┬──────────┐        as many strips as keep all threads busy,
    │   │ block 0  │          │        else blocks too
    ▼   ├──────────┼──────────┤
        │ block 1  │          │
        └──────────┴──────────┘
"""

import numpy as np

from .. import reference
from ..contract import Array
from .normalisation import _row_sum
from .support import CHUNK, SERIAL, for_floats, inlined
from .threads import jobs_of, threaded

STRIP = 1024  # sums of a strip, which stay in the first-level cache
PARTS = 16  # strips enough for the threads


@inlined
def _add_rows(x, total):
    whole = x.shape[0] // 4 * 4
    for k in range(0, whole, 4):  # of which the sum is rounded in the type of x
        a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
        for i in range(total.size):
            total[i] += (a[i] + b[i]) + (c[i] + d[i])
    for k in range(whole, x.shape[0]):
        row = x[k]
        for i in range(total.size):
            total[i] += row[i]


@threaded
def _pieces(thread, x, piece, together, total):
    """total[m, p] = Σ of piece p of row m, the pieces of some rows together."""
    for job in jobs_of(thread, (total.shape[0] + together - 1) // together):
        for m in range(job * together, min(total.shape[0], (job + 1) * together)):
            for p in range(total.shape[1]):
                total[m, p] = _row_sum(x[m, p * piece:(p + 1) * piece])


@threaded
def _blocks(thread, x, block, total):
    """total[m, b, l] = Σ over the rows k of block b."""
    strips = (total.shape[2] + STRIP - 1) // STRIP
    for job in jobs_of(thread, total.shape[0] * total.shape[1] * strips):
        m, b, start = job // (total.shape[1] * strips), job // strips % total.shape[1], job % strips * STRIP
        _add_rows(x[m, b * block:(b + 1) * block, start:start + STRIP], total[m, b, start:start + STRIP])


@for_floats
def axis_sum(x: Array) -> Array:
    if x.size < SERIAL or not x.flags.c_contiguous:
        return reference.axis_sum(x)
    rows, count, length = x.shape
    if length == 1:
        if rows == 1:  # its pieces are then the rows
            whole = count // CHUNK * CHUNK
            total = np.empty((whole // CHUNK, 1))
            _pieces(x.size, x.reshape(-1)[:whole].reshape(-1, CHUNK), CHUNK, 1, total)
            return (total.sum(0) + x[0, whole:, 0].sum(dtype=np.float64))[None]
        total = np.empty((rows, -(-count // CHUNK)))
        _pieces(x.size, x.reshape(rows, count), CHUNK, 1 + CHUNK // count, total)
    else:
        block = count if rows * length >= PARTS * STRIP else 1 + 2 * CHUNK // length
        total = np.zeros((rows, -(-count // block), length))
        _blocks(x.size, x, block, total)
    return (total[:, 0] if total.shape[1] == 1 else total.sum(1)).reshape(rows, length)
