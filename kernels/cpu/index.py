"""Adding at indices: a job is a strip of columns and goes through the whole index, so that sums keep its order."""

import numpy as np
from numba import njit

from ..contract import Array
from .support import OPTIONS, for_floats, inlined
from .threads import jobs_of, threaded

STRIP = 64  # columns of a job


@njit(cache=True, **OPTIONS)
def _add_numbers(y, index, v):
    for i in range(index.size):
        y[index[i]] += v[i]


@inlined
def _add_strip(y, index, v, start, stop):
    for i in range(index.size):
        line, added = y[index[i], start:stop], v[i, start:stop]
        for k in range(line.size):
            line[k] += added[k]


@threaded
def _add_strips(thread, y, index, v):
    for job in jobs_of(thread, (y.shape[1] + STRIP - 1) // STRIP):
        _add_strip(y, index, v, job * STRIP, min(y.shape[1], (job + 1) * STRIP))


@for_floats
def index_add(y: Array, index: Array, v: Array) -> None:
    index, v = np.ascontiguousarray(index), np.ascontiguousarray(v)
    if y.shape[1] == 1:
        _add_numbers(y[:, 0], index, v[:, 0])
    else:
        _add_strips(v.size if y.shape[1] > STRIP else 0, y, index, v)  # a single job needs no threads
